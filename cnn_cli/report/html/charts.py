"""SVG charts. Colors are CSS variables, so they follow the page's light or dark theme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnn_cli.report.html.axis import Axis, axis_of
from cnn_cli.report.html.template import Markup, Templates, joined

WIDTH, HEIGHT = 480, 280
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 44
COLORS = 7  # number of line colors in the style sheet
DASHES = ("none", "6 4", "2 3")
UNIT = Axis(0.0, 1.0, False, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
MOST_DOTS = 30
HISTOGRAM = 60  # height of the lower part of a reliability diagram

_CHARTS = Templates("charts.html")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart.

    Attributes:
        name: its name in the legend.
        points: pairs (x, y); None for y breaks the line.
        color: number of its color, from 0.
        dash: number of its dash pattern; 0 is solid.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    color: int = 0
    dash: int = 0

    @property
    def style(self) -> dict[str, str | int]:
        """The style for the templates."""
        return {
            "color": self.color % COLORS + 1,
            "dashes": DASHES[self.dash % len(DASHES)],
        }


def line_chart(
    ident: str,
    title: str,
    description: str,
    lines: Sequence[Line],
    *,
    may_log: bool = False,
    mark: tuple[float, str] | None = None,
    mark_below: bool = False,
) -> Markup:
    """Draw lines over epochs, with a legend.

    Args:
        ident: unique id of the chart on the page.
        title, description: the alternative text for screen readers.
        lines: at least one with a point.
        may_log: see `axis_of`.
        mark: an epoch to mark, and its label.
        mark_below: put the label at the bottom instead of the top.
    """
    known = [(x, y) for line in lines for x, y in line.points if y is not None]
    x_axis = axis_of([x for x, _ in known], whole=True)
    y_axis = axis_of([y for _, y in known], may_log=may_log)
    plot = _Plot(x_axis, y_axis, HEIGHT)
    marks = [*plot.frame("epoch")]
    if mark is not None:
        x = plot.x(mark[0])
        end = x > WIDTH - 120
        marks.append(
            _CHARTS.fill(
                "mark",
                x=x,
                top=TOP,
                bottom=HEIGHT - BOTTOM,
                text=mark[1],
                text_x=x - 5 if end else x + 5,
                text_y=HEIGHT - BOTTOM - 6 if mark_below else TOP + 12,
                anchor="end" if end else "start",
            )
        )
    marks += [plot.line(line) for line in lines]
    return joined([_chart(ident, title, description, HEIGHT, marks), _legend(lines)])


def reliability_chart(
    ident: str,
    title: str,
    description: str,
    bins: Sequence[tuple[int, float | None, float | None]],
) -> Markup:
    """Draw accuracy over confidence, with the number of images per bin below.

    Args:
        ident, title, description: as in `line_chart`.
        bins: equally wide, from 0 to 1: images, mean confidence, accuracy; None for empty bins.
    """
    height = HEIGHT + HISTOGRAM
    plot = _Plot(UNIT, UNIT, HEIGHT, names_below=HISTOGRAM)
    marks = [*plot.frame("confidence")]
    most = max(images for images, _, _ in bins)
    for number, (images, confidence, accuracy) in enumerate(bins):
        if accuracy is None or confidence is None:
            continue
        left, right = plot.x(number / len(bins)) + 1, plot.x((number + 1) / len(bins)) - 1
        top = plot.y(accuracy)
        tall = max((HISTOGRAM - 8) * images / most, 1.0)
        marks.append(
            _CHARTS.fill(
                "bin",
                left=left,
                right=right,
                width=right - left,
                top=top,
                height=HEIGHT - BOTTOM - top,
                promised=plot.y(confidence),
                count_top=height - BOTTOM - tall,
                count_height=tall,
            )
        )
    marks.append(plot.diagonal())
    return _chart(ident, title, description, height, marks)


def curve_chart(
    ident: str,
    title: str,
    description: str,
    lines: Sequence[Line],
    x_name: str,
    *,
    diagonal: bool = False,
) -> Markup:
    """Draw lines with both axes from 0 to 1, with a legend.

    Args:
        ident, title, description, lines: as in `line_chart`.
        x_name: name of the x axis.
        diagonal: draw the diagonal, which is chance level.
    """
    plot = _Plot(UNIT, UNIT, HEIGHT)
    marks = [*plot.frame(x_name), *(plot.line(line) for line in lines)]
    if diagonal:
        marks.append(plot.diagonal())
    return joined([_chart(ident, title, description, HEIGHT, marks), _legend(lines)])


def _legend(lines: Sequence[Line]) -> Markup:
    entries = [_CHARTS.fill("entry", name=line.name, **line.style) for line in lines]
    return _CHARTS.fill("legend", entries=entries)


class _Plot:
    """Maps values to positions in the frame.

    Args:
        names_below: space between the frame and the name of its x axis.
    """

    def __init__(self, x_axis: Axis, y_axis: Axis, height: int, names_below: int = 0) -> None:
        self._x, self._y, self._height, self._below = x_axis, y_axis, height, names_below

    def x(self, value: float) -> float:
        return round(LEFT + self._x.fraction(value) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        bottom = self._height - BOTTOM
        return round(bottom - self._y.fraction(value) * (bottom - TOP), 1)

    def frame(self, x_name: str) -> list[Markup]:
        """Draw the horizontal grid lines, ticks and labels."""
        parts = []
        for tick in self._y.ticks:
            y = self.y(tick)
            parts.append(
                _CHARTS.fill(
                    "y-tick",
                    left=LEFT,
                    right=WIDTH - RIGHT,
                    y=y,
                    text_x=LEFT - 8,
                    text_y=y + 5,
                    value=tick,
                )
            )
        bottom = self._height + self._below - BOTTOM
        for tick in self._x.ticks:
            parts.append(_CHARTS.fill("x-text", x=self.x(tick), y=bottom + 18, text=tick))
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(_CHARTS.fill("x-text", x=middle, y=bottom + 37, text=x_name))
        return parts

    def diagonal(self) -> Markup:
        x1, y1, x2, y2 = self.x(0), self.y(0), self.x(1), self.y(1)
        return _CHARTS.fill("diagonal", x1=x1, y1=y1, x2=x2, y2=y2)

    def line(self, line: Line) -> Markup:
        steps, dots, pen = [], [], "M"
        few = len(line.points) <= MOST_DOTS
        for x, y in line.points:
            if y is None:
                pen = "M"
                continue
            at = self.x(x), self.y(y)
            steps.append(f"{pen}{at[0]:g} {at[1]:g}")
            pen = "L"
            if few:
                color = line.style["color"]
                dots.append(_CHARTS.fill("dot", x=at[0], y=at[1], color=color))
        if not steps:
            return Markup()
        return _CHARTS.fill("line", path="".join(steps), dots=dots, **line.style)


def _chart(ident: str, title: str, description: str, height: int, marks: Sequence[str]) -> Markup:
    return _CHARTS.fill(
        "chart",
        ident=ident,
        title=title,
        description=description,
        width=WIDTH,
        height=height,
        marks=marks,
    )
