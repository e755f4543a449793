"""How a rank waits for the others: looking again and again, so that signals are answered."""

from __future__ import annotations

import time

from cnn_cli.portable import let_others_run

SPINS = 200  # looks for a message before others are let onto the core
PATIENT = 20_000  # looks, a few ms, after which it is not worth more than one in a millisecond
PAUSE = 0.001
SELDOM = 1_000  # looks between two at what takes longer to see


def pause(looks: int) -> bool:
    """Between two looks, the longer the more of them there were.

    Where there are more ranks than cores, the one that is waited for gets this one.

    Returns:
        Whether it is time to look at what takes longer to see, too.
    """
    if looks > PATIENT:
        time.sleep(PAUSE)
        return True
    if looks > SPINS:
        let_others_run()
    return looks % SELDOM == 0
