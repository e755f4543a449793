"""What a person sees of a training, on stderr: a bar on a terminal, else a line per epoch."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from cnn_cli.cli.output import note, say
from cnn_cli.training.progress import EpochRow, Progress, Silent


def watcher(quiet: bool) -> Progress:
    """Nobody, a bar or lines, as it fits."""
    if quiet:
        return Silent()
    return Bar() if on_terminal() else Lines()


def on_terminal() -> bool:
    """Whether stderr is one that can move its cursor."""
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # closed
        return False


class Lines:
    """A plain line per epoch."""

    epochs = 0

    def note(self, message: str) -> None:
        note(message)

    def start(self, epochs: int, first_epoch: int, steps_per_epoch: int) -> None:
        self.epochs = epochs

    def step(self, epoch: int, step: int, images: int, loss: float, top1: float) -> None: ...

    def epoch(self, row: EpochRow, best: bool) -> None:
        say(epoch_line(row, self.epochs, best))

    def close(self) -> None: ...


class Bar(Lines):
    """The same, with a bar for the epoch under way."""

    def __init__(self) -> None:
        self.steps = 0
        self.bar: Any = None

    def note(self, message: str) -> None:
        self._end_bar()
        super().note(message)

    def start(self, epochs: int, first_epoch: int, steps_per_epoch: int) -> None:
        super().start(epochs, first_epoch, steps_per_epoch)
        self.steps = steps_per_epoch

    def step(self, epoch: int, step: int, images: int, loss: float, top1: float) -> None:
        if self.bar is None:
            self.bar = bar(self.steps, f"epoch {epoch}/{self.epochs}", "step", initial=step - 1)
        self.bar.set_postfix_str(f"loss {loss:.4f}, top1 {top1:.4f}", refresh=False)
        self.bar.update(step - self.bar.n)

    def epoch(self, row: EpochRow, best: bool) -> None:
        self._end_bar()
        super().epoch(row, best)

    def close(self) -> None:
        self._end_bar()

    def _end_bar(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def epoch_line(row: EpochRow, epochs: int, best: bool) -> str:
    """An epoch's row of `metrics.csv`, to be read by people."""
    parts = [f"train_loss {row.train_loss:.4f}", f"train_top1 {row.train_top1:.4f}"]
    if row.val_loss is not None:
        parts.append(f"val_loss {row.val_loss:.4f}")
    if row.val_top1 is not None:
        parts.append(f"val_top1 {row.val_top1:.4f}{' (best)' if best else ''}")
    parts += [f"lr {row.lr:.3g}", f"{row.seconds:.1f} s", f"{row.images_per_second:,.0f} images/s"]
    return f"epoch {row.epoch:>{len(str(epochs))}}/{epochs}: {', '.join(parts)}"


def bar(total: int, title: str, unit: str, initial: int = 0) -> Any:
    """A tqdm bar on stderr that is gone when it is closed."""
    from tqdm import tqdm

    return tqdm(
        total=total,
        desc=title,
        unit=unit,
        initial=initial,
        leave=False,
        dynamic_ncols=True,
        file=_Stderr(),
    )


class _Stderr:
    """Stderr whose reader may go: a closed terminal must not end a training."""

    @property
    def encoding(self) -> str:
        return sys.stderr.encoding

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()

    def isatty(self) -> bool:
        return on_terminal()

    def fileno(self) -> int:
        return sys.stderr.fileno()
