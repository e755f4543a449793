"""Progress bars on stderr, if that is a terminal.

A training has a table with one row per epoch above its bar. Without a terminal, it prints a plain
line per epoch, suitable for logs.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from itertools import accumulate
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, TypeVar

from cnn_cli.cli.shared.output import USUAL_SIZE, Progress, note, say
from cnn_cli.errors import printable

if TYPE_CHECKING:
    from cnn_cli.runs.results import EpochRow
    from cnn_cli.training.progress import Progress as TrainingProgress

S = TypeVar("S", bound=Sized)

FORMAT = "{desc} {percentage:3.0f}%|{bar}|"
COUNTED = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {unit}, {remaining} left"
UNCOUNTED = "{desc} {n_fmt} {unit}, {elapsed}"
ELAPSED = "{desc}, {elapsed}"
DELAY = 2.0  # seconds before a bar appears
TICK = 0.5  # seconds between updates of a bar that counts nothing
BESIDE = 2  # lines of a terminal not available for rows: header and bar
LEAST = 11  # columns for the percentage and a short bar
WIDEST = 16  # columns of a metric, whose name may contain a class name
COLUMNS = USUAL_SIZE[0]  # for terminals of unknown size


def watcher(quiet: bool, monitor: str) -> TrainingProgress:
    """Return the progress display that fits: none, bar or lines; it shows the metric
    `train.monitor`.
    """
    if quiet:
        from cnn_cli.training.progress import Silent

        return Silent()
    shown = Bar() if on_terminal() else Lines()
    shown.monitor = monitor
    return shown


def on_terminal() -> bool:
    """Whether stderr is a terminal with cursor movement."""
    return sys.stderr.isatty()


class Lines:
    """A plain line per epoch."""

    epochs = 0
    monitor = "top1"

    def note(self, message: str) -> None:
        note(message)

    def start(
        self, epochs: int, first_epoch: int, steps_per_epoch: int, pixels: Sequence[int] = ()
    ) -> None:
        self.epochs = epochs

    def step(self, epoch: int, step: int, images: int, loss: float, top1: float) -> None: ...

    def epoch(self, row: EpochRow, best: bool) -> None:
        say(epoch_line(row, self.epochs, best, self.monitor))

    def close(self) -> None: ...


class Bar(Lines):
    """A table with one row per epoch, above a bar for the whole run."""

    def __init__(self) -> None:
        self.rows: int | None = None  # rows since the last header
        self.steps = 0
        self.bar: Any = None
        self.began = 0.0  # time of the end of the first step: start-up counts only once
        self.work = [0]  # of one step in each of the epochs so far: it grows with the pixels
        self.work_since = 0
        self.epoch_began = 0.0
        self.images_since = 0

    def note(self, message: str) -> None:
        self._above(lambda: note(message))

    def start(
        self, epochs: int, first_epoch: int, steps_per_epoch: int, pixels: Sequence[int] = ()
    ) -> None:
        super().start(epochs, first_epoch, steps_per_epoch)
        self.steps = steps_per_epoch
        self.work = [0, *accumulate(pixels or [1] * epochs)]

    def step(self, epoch: int, step: int, images: int, loss: float, top1: float) -> None:
        now = time.monotonic()
        done, total = (epoch - 1) * self.steps + step, self.epochs * self.steps
        if self.bar is None:
            title = f"epoch {epoch}/{self.epochs}"
            self.bar = bar(total, title, "step", initial=done - 1, bar_format=FORMAT)
            self.began = self.epoch_began = now
        else:
            self.work_since += self.work[epoch] - self.work[epoch - 1]
            self.images_since += images
        parts = [f"epoch {epoch}/{self.epochs}"]
        if self.work_since:
            rest = self.steps * (self.work[-1] - self.work[epoch])
            rest += (self.steps - step) * (self.work[epoch] - self.work[epoch - 1])
            seconds = rest * (now - self.began) / self.work_since
            parts.append(f"{self.bar.format_interval(seconds)} left")
        parts += [f"loss {loss:.4f}", f"top1 {top1:.4f}"]
        if self.images_since:
            rate = self.images_since / max(now - self.epoch_began, 1e-9)
            parts.append(f"{rate:,.0f} images/s")
        columns = self.bar.format_dict["ncols"] or COLUMNS
        self.bar.set_description_str(fitting(parts, columns - LEAST), refresh=False)
        self.bar.update(done - self.bar.n)

    def epoch(self, row: EpochRow, best: bool) -> None:
        columns, lines = _stderr_size()
        header, text = epoch_row(row, self.epochs, best, columns, self.monitor)
        if self.rows is None or self.rows >= lines - BESIDE:
            self._above(lambda: say(header))
            self.rows = 0
        self.rows += 1
        self._above(lambda: say(text))
        self.epoch_began, self.images_since = time.monotonic(), 0

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _above(self, write: Callable[[], None]) -> None:
        """Write lines in place of the bar, and redraw it below them."""
        _above(self.bar, write)


def fitting(parts: Sequence[str], columns: int) -> str:
    """Join as many parts as fit, without cutting one; always the first."""
    text = parts[0]
    for part in parts[1:]:
        if len(text) + len(part) + 2 > columns:
            break
        text += f", {part}"
    return text


def epoch_line(row: EpochRow, epochs: int, best: bool, monitor: str = "top1") -> str:
    """Format an epoch's row as a line, with the monitored metric."""
    parts = [f"train_loss {row.train_loss:.4f}", f"train_top1 {row.train_top1:.4f}"]
    if row.val_loss is not None:
        parts.append(f"val_loss {row.val_loss:.4f}")
    if row.val_top1 is not None:
        parts.append(f"val_top1 {row.val_top1:.4f}")
        if monitor in row.val:
            value = row.val[monitor]
            parts.append(f"val_{monitor} {'-' if value is None else f'{value:.4f}'}")
        if best:
            parts[-1] += " (best)"
    parts += [f"lr {row.lr:.3g}", f"{row.seconds:.1f} s", f"{row.images_per_second:,.0f} images/s"]
    return f"epoch {row.epoch:>{len(str(epochs))}}/{epochs}: {', '.join(parts)}"


def epoch_row(
    row: EpochRow, epochs: int, best: bool, columns: int, monitor: str = "top1"
) -> tuple[str, str]:
    """Return the header of a table and the epoch's row in it.

    Args:
        row: row of the epoch.
        epochs: number of epochs.
        best: whether it is the best epoch.
        columns: width of the terminal; in a narrow one, the last columns are dropped.
        monitor: a metric to show besides loss and top-1.
    """
    from cnn_cli.report.text.table import cut_middle

    cells = [
        ("epoch", 2 * len(str(epochs)) + 1, f"{row.epoch}/{epochs}"),
        ("loss", 7, _number(row.train_loss)),
        ("top-1", 6, _number(row.train_top1)),
    ]
    if row.val_loss is not None:
        cells.append(("val loss", 8, _number(row.val_loss)))
    if row.val_top1 is not None:
        cells.append(("top-1", 6, _number(row.val_top1)))
        if monitor in row.val:
            reached = row.val[monitor]
            name = cut_middle(printable(monitor), WIDEST)
            cells.append((name, 7, "-" if reached is None else _number(reached)))
        cells.append(("best", 4, "*" if best else ""))
    cells += [
        ("lr", 8, f"{row.lr:.3g}"),
        ("time", 8, f"{row.seconds:.1f} s"),
        ("images/s", 8, f"{row.images_per_second:,.0f}"),
    ]
    header = text = ""
    for name, least, value in cells:
        gap, width = "  " if header else "", max(least, len(name), len(value))
        if header and len(header) + len(gap) + width > columns:
            break
        header += f"{gap}{name:>{width}}"
        text += f"{gap}{value:>{width}}"
    return header, text


def _number(value: float) -> str:
    """Format a loss or fraction with four decimals, fewer for large numbers."""
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.3g}"


def _stderr_size() -> tuple[int, int]:
    """Return columns and lines of stderr's terminal."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        return USUAL_SIZE
    return size.columns or USUAL_SIZE[0], size.lines or USUAL_SIZE[1]


def _above(bar: Any, write: Callable[[], None]) -> None:
    """Write lines in place of a bar, if there is one, and redraw it below them."""
    if bar is not None:
        bar.clear()
    write()
    if bar is not None:
        bar.refresh()


def bar(total: int | None, title: str, unit: str, **more: Any) -> Any:
    """Create a tqdm bar on stderr that disappears when closed; `more` is passed to tqdm."""
    from tqdm import tqdm

    return tqdm(
        total=total,
        desc=title,
        unit=unit,
        leave=False,
        dynamic_ncols=True,
        file=sys.stderr,
        **more,
    )


class Drawn(Progress):
    """Progress on a tqdm bar, which appears after two seconds."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def add(self, number: int = 1) -> None:
        self._bar.update(number)

    def reach(self, done: int, total: int) -> None:
        self._bar.total = total
        self._bar.bar_format = COUNTED
        self._bar.update(done - self._bar.n)

    def title(self, title: str) -> None:
        self._bar.set_description_str(title, refresh=False)

    def say(self, text: str) -> None:
        self._put(lambda: say(text))

    def note(self, text: str) -> None:
        self._put(lambda: note(text))

    def _put(self, write: Callable[[], None]) -> None:
        drawn = self._bar.last_print_t - self._bar.start_t >= DELAY
        _above(self._bar if drawn else None, write)


@contextmanager
def counting(title: str, unit: str, total: int | None = None) -> Iterator[Progress]:
    """Count on a bar, if stderr is a terminal.

    Args:
        title: the activity: `reading`.
        unit: what is counted, in the plural.
        total: the final count, if known.
    """
    if not on_terminal():
        yield Progress()
        return
    form = UNCOUNTED if total is None else COUNTED
    with bar(total, title, unit, bar_format=form, delay=DELAY) as drawn:
        yield Drawn(drawn)


@contextmanager
def elapsing(title: str) -> Iterator[Progress]:
    """Show the elapsed time of an activity, if stderr is a terminal."""
    if not on_terminal():
        yield Progress()
        return
    ended = Event()
    with bar(None, title, "", bar_format=ELAPSED, delay=DELAY) as drawn:

        def tick() -> None:
            while not ended.wait(TICK):
                drawn.update(0)

        thread = Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield Drawn(drawn)
        finally:
            ended.set()
            thread.join()


def unwatched(batches: Iterator[S], total: int) -> Iterator[S]:
    """Return the batches unchanged."""
    return batches


def watched(batches: Iterator[S], total: int) -> Iterator[S]:
    """Yield the batches, and count their images on a bar."""
    with counting("evaluating", "images", total) as shown:
        for batch in batches:
            yield batch
            shown.add(len(batch))
