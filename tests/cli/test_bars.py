"""Progress of a training on stderr."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial

import pytest

from cnn_cli.cli.shared import bars
from cnn_cli.cli.shared.bars import Bar, Lines
from cnn_cli.cli.shared.output import Progress
from cnn_cli.runs.results import EpochRow

ROW = EpochRow(3, 0.51234, 0.81, 0.48, 0.829, 0.08123, 12.34, 1630.4)
EPOCH = (
    "epoch  3/10: train_loss 0.5123, train_top1 0.8100, val_loss 0.4800, "
    "val_top1 0.8290 (best), lr 0.0812, 12.3 s, 1,630 images/s\n"
)


def test_an_epoch_as_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.start(10, 3, 5)
    lines.note("a\ncache")
    lines.epoch(ROW, best=True)
    assert capsys.readouterr().err == "cnn: a\\ncache\n" + EPOCH


HEADER = "epoch     loss   top-1  val loss   top-1  best        lr      time  images/s"
TABLED = " 3/10   0.5123  0.8100    0.4800  0.8290     *    0.0812    12.3 s     1,630"


def test_an_epoch_as_a_row() -> None:
    assert bars.epoch_row(ROW, 10, best=True, columns=80) == (HEADER, TABLED)
    plain = EpochRow(1, 2.5, 0.1, None, None, 1.99e-06, 1234.5, 12)
    header, row = bars.epoch_row(plain, 300, best=False, columns=80)
    assert header == "  epoch     loss   top-1        lr      time  images/s"
    assert row == "  1/300   2.5000  0.1000  1.99e-06  1234.5 s        12"


def test_the_metric_that_is_followed_has_a_column() -> None:
    more = replace(ROW, val={"macro_f1": 0.5, "auc": None, "recall:a\x1b" + "b" * 99: 0.25})
    start = HEADER.index("best")
    for monitor, column, cell in (
        ("top1", "", ""),
        ("macro_f1", "macro_f1  ", "  0.5000  "),
        ("auc", "    auc  ", "      -  "),
        (list(more.val)[-1], "recall:a…bbbbbbb  ", "          0.2500  "),
    ):
        header, row = bars.epoch_row(more, 10, best=True, columns=120, monitor=monitor)
        assert header == HEADER[:start] + column + HEADER[start:]
        assert row == TABLED[:start] + cell + TABLED[start:]
    line = bars.epoch_line(more, 10, best=True, monitor="macro_f1")
    assert "val_top1 0.8290, val_macro_f1 0.5000 (best), lr" in line
    assert "val_auc - (best)" in bars.epoch_line(more, 10, best=True, monitor="auc")


@pytest.mark.parametrize("columns", [1, 40, 79, 80, 200])
@pytest.mark.parametrize("loss", [0.5, 1e9, float("nan"), float("inf")])
def test_rows_of_any_epoch_are_aligned_and_fit(columns: int, loss: float) -> None:
    for epochs, number, rate in ((3, 1, 9.0), (999, 999, 123456.0)):
        row = EpochRow(number, loss, 0.5, loss, 1.0, 1e-8, 99999.94, rate)
        header, text = bars.epoch_row(row, epochs, best=True, columns=columns)
        assert len(header) == len(text) <= max(columns, 7)
        if columns >= 80:
            assert header.endswith("images/s")


def test_the_header_stands_again_where_the_terminal_scrolls(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars, "_stderr_size", lambda: (80, 6))
    shown = Bar()
    shown.start(10, 1, 2)
    for _ in range(10):
        shown.epoch(ROW, best=True)
    full = [HEADER, *[TABLED] * 4]
    assert capsys.readouterr().err.splitlines() == [*full, *full, HEADER, TABLED, TABLED]


class Clock:
    """A clock that advances only when the test says so."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(bars, "time", clock)
    monkeypatch.setattr(bars, "bar", partial(bars.bar, mininterval=0))
    return clock


def wide(bar: Bar, columns: int) -> str:
    """Return the bar on a terminal of that width."""
    return str(bar.bar.format_meter(**bar.bar.format_dict | {"ncols": columns}))


def steps(bar: Bar, clock: Clock, epoch: int, *numbers: int) -> None:
    for number in numbers:
        clock.now += 2
        bar.step(epoch, number, 8, 0.61234, 0.75)


def test_the_bar_is_of_the_whole_run(clock: Clock) -> None:
    bar = Bar()
    bar.start(10, 3, 4)
    clock.now += 1000  # as if computing the features of frozen layers
    steps(bar, clock, 3, 1)
    assert wide(bar, 80).startswith("epoch 3/10, loss 0.6123, top1 0.7500  22%|")
    steps(bar, clock, 3, 2, 3)
    text = "epoch 3/10, 00:58 left, loss 0.6123, top1 0.7500, 4 images/s  28%|"
    assert wide(bar, 80).startswith(text)
    assert len(wide(bar, 80)) == 80
    bar.close()


def test_epochs_of_larger_images_take_longer(clock: Clock) -> None:
    """Two steps of 2 seconds are left, and four of 8 seconds."""
    bar = Bar()
    bar.start(2, 1, 4, [100, 400])
    steps(bar, clock, 1, 1, 2)
    assert wide(bar, 80).startswith("epoch 1/2, 00:36 left, ")
    bar.close()


def test_time_between_the_epochs_counts_for_the_run_and_not_for_the_speed(clock: Clock) -> None:
    bar = Bar()
    bar.start(10, 1, 2)
    steps(bar, clock, 1, 1, 2)
    clock.now += 18
    bar.epoch(ROW, best=True)
    steps(bar, clock, 2, 1, 2)
    assert "epoch 2/10, 02:08 left, loss 0.6123, top1 0.7500, 4 images/s" in wide(bar, 120)
    bar.close()


def test_steps_that_are_done_again_keep_the_bar(clock: Clock) -> None:
    bar = Bar()
    bar.start(2, 1, 4)
    steps(bar, clock, 1, 1, 2, 3, 1)
    assert wide(bar, 80).startswith("epoch 1/2, 00:14 left, ")
    assert " 12%|" in wide(bar, 80)
    bar.close()


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 120])
def test_a_narrow_terminal_has_whole_words_on_one_line(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr(bars, "COLUMNS", columns)  # pytest's stderr is no terminal
    bar = Bar()
    bar.start(10, 1, 4)
    steps(bar, clock, 1, 1, 2)
    parts = ["epoch 1/10", "01:16 left", "loss 0.6123", "top1 0.7500", "4 images/s"]
    count = {20: 1, 40: 2, 60: 4}.get(columns, 5)
    shown = wide(bar, columns)
    assert re.split(r" +5%\|", shown)[0] == ", ".join(parts[:count])
    assert len(shown) == columns
    bar.close()


def test_lines_stand_above_the_bar(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    bar = Bar()
    bar.start(10, 3, 2)
    steps(bar, clock, 3, 1, 2)
    assert "epoch 3/10, " in capsys.readouterr().err
    bar.epoch(ROW, best=True)
    bar.note("something")
    header, line, note, shown = capsys.readouterr().err.split("\n")
    assert [each.rpartition("\r")[2] for each in (header, line)] == [HEADER, TABLED]
    assert note.rpartition("\r")[2] == "cnn: something"
    assert shown.rpartition("\r")[2].startswith("epoch 3/10, ")
    bar.close()
    assert capsys.readouterr().err.endswith("\r")


@pytest.mark.parametrize("columns", [*range(0, 130), 250, 500])
def test_any_width(columns: int, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a terminal that reports 0."""
    monkeypatch.setattr(bars, "COLUMNS", columns or bars.COLUMNS)  # pytest's stderr is no terminal
    bar = Bar()
    bar.start(10, 3, 4)
    steps(bar, clock, 3, 1, 2, 3)
    shown = wide(bar, columns)
    bar.close()
    assert "\n" not in shown
    assert len(shown) <= columns or columns == 0


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "on_terminal", lambda: True)


def last_line(text: str) -> str:
    return text.rpartition("\n")[2].rstrip("\r ").rpartition("\r")[2]


def test_a_count_appears_after_a_while(
    capsys: pytest.CaptureFixture[str], terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bars.counting("reading", "images", 10) as shown:
        shown.add(3)
        shown.note("at once")
    assert capsys.readouterr().err == "cnn: at once\n"
    monkeypatch.setattr(bars, "DELAY", 0.0)
    with bars.counting("reading", "images", 10) as shown:
        shown.add(3)
        assert last_line(capsys.readouterr().err).startswith("reading   0%|")
        shown.reach(7, 7)
        shown.say("above\x1b")
        err = capsys.readouterr().err
        assert "\rabove\\x1b\n" in err
        assert re.match(r"reading 100%\|.*\| 7/7 images, ", last_line(err))
    assert capsys.readouterr().err.endswith("\r")
    with bars.counting("predicting", "images") as shown:
        shown.add(3)
        shown.say("above")
        assert last_line(capsys.readouterr().err) == "predicting 3 images, 00:00"


def test_time_goes_on_while_nothing_is_counted(
    capsys: pytest.CaptureFixture[str], terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bars.elapsing("importing"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(bars, "DELAY", 0.0)
    with bars.elapsing("importing") as shown:
        shown.title("measuring")
        shown.note("above")
        assert last_line(capsys.readouterr().err) == "measuring, 00:00"
    assert capsys.readouterr().err.endswith("\r")


@pytest.mark.parametrize(
    "opened", [partial(bars.counting, "a", "b", 3), partial(bars.elapsing, "a")]
)
def test_nothing_is_drawn_where_there_is_no_terminal(
    opened: Callable[[], AbstractContextManager[Progress]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bars, "DELAY", 0.0)
    with opened() as shown:
        shown.add(2)
        shown.reach(3, 3)
        shown.title("c")
        shown.say("said")
    assert capsys.readouterr().err == "said\n"
