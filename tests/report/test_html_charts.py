"""Axes and charts of the HTML report."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from cnn_cli.report.html.axis import axis_of
from cnn_cli.report.html.charts import Line, line_chart, reliability_chart
from cnn_cli.report.html.template import Markup
from cnn_cli.report.text.numbers import time_text


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.0, 1.0], (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        ([0.41, 0.92], (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
        ([1.2, 4.7457], (1.0, 2.0, 3.0, 4.0, 5.0)),
        ([1e-6, 0.1], (0.0, 0.02, 0.04, 0.06, 0.08, 0.1)),
        ([-3.0, 3.0], (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)),
        ([0.5, 0.5], (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
        ([0.0], (-0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6)),
    ],
)
def test_round_ticks_around_all_values(values: list[float], ticks: tuple[float, ...]) -> None:
    axis = axis_of(values)
    assert axis.ticks == ticks
    assert axis.low <= min(values)
    assert axis.high >= max(values)
    assert (axis.low, axis.high) == pytest.approx((ticks[0], ticks[-1]))
    assert (axis.fraction(axis.low), axis.fraction(axis.high)) == (0, 1)


@pytest.mark.parametrize(
    ("last", "ticks"),
    [(1, (1,)), (2, (1, 2)), (12, (2, 4, 6, 8, 10, 12)), (300, (50, 100, 150, 200, 250, 300))],
)
def test_epochs_are_whole(last: int, ticks: tuple[int, ...]) -> None:
    assert axis_of([1.0, float(last)], whole=True).ticks == ticks


def test_a_single_epoch_stands_in_the_middle() -> None:
    assert axis_of([1.0], whole=True).fraction(1.0) == 0.5


def test_logarithms_where_one_value_dwarfs_the_others() -> None:
    assert not axis_of([0.3, 10.0], may_log=True).log
    axis = axis_of([0.3, 2e6], may_log=True)
    assert axis.log
    assert axis.ticks == pytest.approx([10.0**power for power in range(-1, 8)])
    assert axis.fraction(0.1) == 0
    assert axis.fraction(1e3) == pytest.approx(0.5)
    assert not axis_of([0.0, 2e6], may_log=True).log


def read(chart: Markup) -> ET.Element:
    return ET.fromstring(f"<div>{chart}</div>")


def test_a_line_is_broken_where_nothing_was_measured() -> None:
    points = [(1.0, 0.0), (2.0, 1.0), (3.0, None), (4.0, 0.5)]
    drawn = read(line_chart("a", "A title", "Some words", [Line("one & two", points, 1)]))
    path = drawn.find("svg/path")
    assert path is not None
    steps = re.findall(r"([ML])([\d.]+) ([\d.]+)", path.get("d", ""))
    assert [pen for pen, _, _ in steps] == ["M", "L", "M"]
    heights = [float(y) for _, _, y in steps]
    assert heights[2] == pytest.approx((heights[0] + heights[1]) / 2)
    assert len(drawn.findall("svg/circle")) == 3
    svg = drawn.find("svg")
    assert svg is not None
    assert svg.get("aria-labelledby") == "a-name a-desc"
    assert [each.text for each in (*svg.findall("title"), *svg.findall("desc"))] == [
        "A title",
        "Some words",
    ]
    names = drawn.find("ul")
    assert names is not None
    assert "".join(names.itertext()) == "one & two"


def test_all_is_within_the_frame() -> None:
    lines = [Line(str(i), [(1.0, 10.0**i), (500.0, 3.0)], i, i) for i in range(-3, 9)]
    drawn = read(line_chart("a", "A", "B", lines, may_log=True, mark=(500.0, "best")))
    for path in drawn.findall("svg/path"):
        for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path.get("d", "")):
            assert 58 <= float(x) <= 468
            assert 12 <= float(y) <= 236
    classes = {path.get("class") for path in drawn.findall("svg/path")}
    assert classes == {f"line s{i}" for i in range(1, 8)}


def test_the_reliability_of_bins() -> None:
    bins = [(0, None, None), (30, 0.4, 0.25), (10, 0.9, 1.0)]
    drawn = read(reliability_chart("c", "A", "B", bins))
    bars = [each for each in drawn.findall("svg/rect") if each.get("class") == "bar"]
    counts = [each for each in drawn.findall("svg/rect") if each.get("class") == "count"]
    assert [float(each.get("height", 0)) for each in bars] == [56.0, 224.0]
    assert [float(each.get("height", 0)) for each in counts] == pytest.approx([52, 17.3333])
    assert float(bars[0].get("x", 0)) == pytest.approx(58 + 410 / 3 + 1, abs=0.1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.34, "12.3 s"), (59.6, "1 min 00 s"), (200.0, "3 min 20 s"), (3720.0, "1 h 02 min")],
)
def test_times(seconds: float, text: str) -> None:
    assert time_text(seconds) == text
