"""Bars on stderr, where that is a terminal: how far a command has come.

A training has a table with a row per epoch above its bar; what is no terminal gets a plain line per
epoch instead, which can be searched.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
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
DELAY = 2.0  # seconds that a command works before its bar appears
TICK = 0.5  # seconds after which a bar that counts nothing is drawn again
BESIDE = 2  # lines of a terminal that a table has no rows on: its header and the bar
LEAST = 11  # columns for the percentage and a short bar
WIDEST = 16  # columns of a metric, whose class may have any name
COLUMNS = USUAL_SIZE[0]  # of a terminal that does not say it


def watcher(quiet: bool, monitor: str) -> TrainingProgress:
    """Nobody, a bar or lines, as it fits; those show the metric that is `train.monitor`."""
    if quiet:
        from cnn_cli.training.progress import Silent

        return Silent()
    shown = Bar() if on_terminal() else Lines()
    shown.monitor = monitor
    return shown


def on_terminal() -> bool:
    """Whether stderr is one that can move its cursor."""
    return sys.stderr.isatty()


class Lines:
    """A plain line per epoch."""

    epochs = 0
    monitor = "top1"

    def note(self, message: str) -> None:
        note(message)

    def start(self, epochs: int, first_epoch: int, steps_per_epoch: int) -> None:
        self.epochs = epochs

    def step(self, epoch: int, step: int, images: int, loss: float, top1: float) -> None: ...

    def epoch(self, row: EpochRow, best: bool) -> None:
        say(epoch_line(row, self.epochs, best, self.monitor))

    def close(self) -> None: ...


class Bar(Lines):
    """A table with a row per epoch, above a bar for the whole run."""

    def __init__(self) -> None:
        self.rows: int | None = None  # of the table since its header
        self.steps = 0
        self.bar: Any = None
        self.began = 0.0  # when the first step was done: what came before it comes once
        self.steps_since = 0
        self.epoch_began = 0.0
        self.images_since = 0

    def note(self, message: str) -> None:
        self._above(lambda: note(message))

    def start(self, epochs: int, first_epoch: int, steps_per_epoch: int) -> None:
        super().start(epochs, first_epoch, steps_per_epoch)
        self.steps = steps_per_epoch

    def step(self, epoch: int, step: int, images: int, loss: float, top1: float) -> None:
        now = time.monotonic()
        done, total = (epoch - 1) * self.steps + step, self.epochs * self.steps
        if self.bar is None:
            title = f"epoch {epoch}/{self.epochs}"
            self.bar = bar(total, title, "step", initial=done - 1, bar_format=FORMAT)
            self.began = self.epoch_began = now
        else:
            self.steps_since += 1
            self.images_since += images
        parts = [f"epoch {epoch}/{self.epochs}"]
        if self.steps_since:
            seconds = (total - done) * (now - self.began) / self.steps_since
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
        """Write lines where the bar is, and it again below them."""
        _above(self.bar, write)


def fitting(parts: Sequence[str], columns: int) -> str:
    """As many of the parts as have room, without cutting one; always the first."""
    text = parts[0]
    for part in parts[1:]:
        if len(text) + len(part) + 2 > columns:
            break
        text += f", {part}"
    return text


def epoch_line(row: EpochRow, epochs: int, best: bool, monitor: str = "top1") -> str:
    """An epoch's row of `metrics.csv`, to be read by people; of its metrics, what is followed."""
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
    """The header of a table and the epoch's row in it.

    Args:
        columns: of the terminal; the last ones of the table go where it is narrow.
        monitor: the metric that has a column beside loss and top-1.
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
    """Of a loss or a share: four decimals, as long as it is no large number."""
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.3g}"


def _stderr_size() -> tuple[int, int]:
    """Columns and lines of the terminal that stderr is."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        return USUAL_SIZE
    return size.columns or USUAL_SIZE[0], size.lines or USUAL_SIZE[1]


def _above(bar: Any, write: Callable[[], None]) -> None:
    """Write lines where a bar is, if there is one, and draw it again below them."""
    if bar is not None:
        bar.clear()
    write()
    if bar is not None:
        bar.refresh()


def bar(total: int | None, title: str, unit: str, **more: Any) -> Any:
    """A tqdm bar on stderr that is gone when it is closed; `more` is for tqdm."""
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
    """Progress on a bar of tqdm's, which appears after two seconds."""

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
    """Count on a bar, where stderr is a terminal.

    Args:
        title: what is done: `reading`.
        unit: what is counted, in the plural.
        total: how many there are, where that is known.
    """
    if not on_terminal():
        yield Progress()
        return
    form = UNCOUNTED if total is None else COUNTED
    with bar(total, title, unit, bar_format=form, delay=DELAY) as drawn:
        yield Drawn(drawn)


@contextmanager
def elapsing(title: str) -> Iterator[Progress]:
    """Show for how long something has gone on, where stderr is a terminal."""
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
    """The same batches."""
    return batches


def watched(batches: Iterator[S], total: int) -> Iterator[S]:
    """The same batches, whose images a bar counts."""
    with counting("evaluating", "images", total) as shown:
        for batch in batches:
            yield batch
            shown.add(len(batch))
