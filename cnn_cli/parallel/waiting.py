"""How a rank waits for others: it polls, so that signals are handled."""

from __future__ import annotations

import time

from cnn_cli.portable import let_others_run

SPINS = 200  # polls before the core is yielded
PATIENT = 20_000  # polls, a few ms in total, after which one per millisecond is enough
PAUSE = 0.001
SELDOM = 1_000  # polls between two checks of what takes longer to see


def pause(polls: int) -> bool:
    """Yield or sleep between two polls, the longer the more polls there were.

    With more ranks than cores, the rank that is waited for gets this core.

    Returns:
        Whether to check what takes longer to see, too.
    """
    if polls > PATIENT:
        time.sleep(PAUSE)
        return True
    if polls > SPINS:
        let_others_run()
    return polls % SELDOM == 0
