"""What the outside asks of a running training: stop, or save now.

Signal handlers and the clock set it; the training loop looks after each step.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

StopReason = Literal["time limit", "terminated", "interrupted"]


@dataclass(slots=True)
class Requests:
    """Wishes that the training loop has not met yet.

    Attributes:
        stop: why to stop after the current step, having saved; the first reason stays.
        save: write a checkpoint after the current step and go on.
        deadline: `time.monotonic()` at which to stop, or None.
    """

    stop: StopReason | None = None
    save: bool = False
    deadline: float | None = field(default=None)

    def ask_stop(self, reason: StopReason) -> None:
        if self.stop is None:
            self.stop = reason

    def stop_reason(self) -> StopReason | None:
        """Why to stop now, if at all."""
        if self.stop is None and self.deadline is not None and time.monotonic() >= self.deadline:
            self.stop = "time limit"
        return self.stop

    def take_save(self) -> bool:
        """Whether a checkpoint was asked for since the last call."""
        asked, self.save = self.save, False
        return asked
