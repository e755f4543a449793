"""Charts as SVG. Colours are CSS variables, so that they are those of the page, light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnn_cli.report.html.axis import Axis, axis_of
from cnn_cli.report.html.markup import Markup, element, joined

WIDTH, HEIGHT = 480, 280
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 44
COLOURS = 7  # that the style sheet has for lines
DASHES = (None, "6 4", "2 3")
MOST_DOTS = 30
HISTOGRAM = 60  # height of the lower part of a reliability diagram


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart.

    Attributes:
        name: for the legend.
        points: x and y; where y is None the line is broken.
        colour: number of one, from 0.
        dash: number of a kind of dashes; 0 is none.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    colour: int = 0
    dash: int = 0

    def attributes(self) -> dict[str, str | None]:
        return {
            "class_": f"line s{self.colour % COLOURS + 1}",
            "stroke_dasharray": DASHES[self.dash % len(DASHES)],
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
    """Lines over epochs, and a legend.

    Args:
        ident: of the chart, its own on the page.
        title, description: what it shows, for screen readers.
        lines: at least one with a point.
        may_log: see `axis_of`.
        mark: an epoch and what is written there.
        mark_below: it is written at the bottom, not at the top.
    """
    known = [(x, y) for line in lines for x, y in line.points if y is not None]
    x_axis = axis_of([x for x, _ in known], whole=True)
    y_axis = axis_of([y for _, y in known], may_log=may_log)
    plot = _Plot(x_axis, y_axis, HEIGHT)
    parts = [*plot.frame("epoch")]
    if mark is not None:
        x = plot.x(mark[0])
        end = x > WIDTH - 120
        parts += [
            element("line", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, class_="mark"),
            element(
                "text",
                mark[1],
                x=x - 5 if end else x + 5,
                y=HEIGHT - BOTTOM - 6 if mark_below else TOP + 12,
                text_anchor="end" if end else "start",
                class_="note",
            ),
        ]
    for line in lines:
        parts += plot.line(line)
    return joined([_svg(ident, title, description, HEIGHT, parts), _legend(lines)])


def reliability_chart(
    ident: str,
    title: str,
    description: str,
    bins: Sequence[tuple[int, float | None, float | None]],
) -> Markup:
    """Accuracy over confidence, with the images of each bin below it.

    Args:
        ident, title, description: as in `line_chart`.
        bins: of equal width, from 0 to 1: images, mean confidence, accuracy; None without images.
    """
    height = HEIGHT + HISTOGRAM
    unit = Axis(0.0, 1.0, False, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
    plot = _Plot(unit, unit, HEIGHT, names_below=HISTOGRAM)
    parts = [*plot.frame("confidence")]
    most = max(images for images, _, _ in bins)
    for number, (images, confidence, accuracy) in enumerate(bins):
        if accuracy is None or confidence is None:
            continue
        left, right = plot.x(number / len(bins)) + 1, plot.x((number + 1) / len(bins)) - 1
        top, promised = plot.y(accuracy), plot.y(confidence)
        box = {"x": left, "width": right - left}
        parts += [
            element("rect", **box, y=top, height=HEIGHT - BOTTOM - top, class_="bar"),
            element("line", x1=left, x2=right, y1=promised, y2=promised, class_="promise"),
        ]
        tall = max((HISTOGRAM - 8) * images / most, 1.0)
        base = height - BOTTOM
        parts.append(element("rect", **box, y=base - tall, height=tall, class_="count"))
    ends = {"x1": plot.x(0), "y1": plot.y(0), "x2": plot.x(1), "y2": plot.y(1)}
    parts.append(element("line", **ends, class_="mark"))
    return _svg(ident, title, description, height, parts)


class _Plot:
    """Where numbers lie within the frame.

    Args:
        names_below: room between the frame and the names of its x axis.
    """

    def __init__(self, x_axis: Axis, y_axis: Axis, height: int, names_below: int = 0) -> None:
        self._x, self._y, self._height, self._below = x_axis, y_axis, height, names_below

    def x(self, value: float) -> float:
        return round(LEFT + self._x.share(value) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        bottom = self._height - BOTTOM
        return round(bottom - self._y.share(value) * (bottom - TOP), 1)

    def frame(self, x_name: str) -> list[Markup]:
        """Lines across at the ticks, and what is written beside them."""
        parts = []
        for tick in self._y.ticks:
            y = self.y(tick)
            parts += [
                element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"),
                element("text", f"{tick:g}", x=LEFT - 8, y=y + 5, text_anchor="end"),
            ]
        bottom = self._height + self._below - BOTTOM
        for tick in self._x.ticks:
            parts.append(
                element("text", f"{tick:g}", x=self.x(tick), y=bottom + 18, text_anchor="middle")
            )
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(element("text", x_name, x=middle, y=bottom + 37, text_anchor="middle"))
        return parts

    def line(self, line: Line) -> list[Markup]:
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
                colour = f"dot s{line.colour % COLOURS + 1}"
                dots.append(element("circle", cx=at[0], cy=at[1], r=2.5, class_=colour))
        return [element("path", d="".join(steps), **line.attributes()), *dots] if steps else []


def _svg(ident: str, title: str, description: str, height: int, parts: Sequence[Markup]) -> Markup:
    return element(
        "svg",
        element("title", title, id=f"{ident}-name"),
        element("desc", description, id=f"{ident}-desc"),
        *parts,
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_labelledby=f"{ident}-name {ident}-desc",
        class_="chart",
    )


def _legend(lines: Sequence[Line]) -> Markup:
    entries = []
    for line in lines:
        sample = element("line", x1=0, x2=28, y1=5, y2=5, **line.attributes())
        key = element("svg", sample, viewBox="0 0 28 10", class_="key", aria_hidden="true")
        entries.append(element("li", key, line.name))
    return element("ul", *entries, class_="legend")
