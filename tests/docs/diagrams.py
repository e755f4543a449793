"""SVG diagrams of the pages: how convolution is computed, and the data flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

INK, PALE, EDGE, PAPER = "#24292f", "#f6f8fa", "#8c959f", "#ffffff"
BLUE, ORANGE, GREEN = "#9ec9f5", "#f9c99b", "#a9d8ac"
FONT = 'font-family="DejaVu Sans, Helvetica, Arial, sans-serif"'


class Drawing:
    """An SVG with a white background, so that it is legible on dark pages too."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.size = width, height
        self.title = title
        self.parts: list[str] = []

    def box(
        self, x: float, y: float, width: float, height: float, fill: str = PALE, round_: int = 0
    ) -> None:
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{round_}" '
            f'fill="{fill}" stroke="{EDGE}"/>'
        )

    def frame(self, x: float, y: float, width: float, height: float, color: str) -> None:
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="none" '
            f'stroke="{color}" stroke-width="3"/>'
        )

    def text(
        self, x: float, y: float, words: str, size: int = 13, anchor: str = "middle", bold: int = 0
    ) -> None:
        weight = ' font-weight="bold"' if bold else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{INK}"'
            f"{weight}>{escape(words)}</text>"
        )

    def arrow(self, x: float, y: float, to_x: float, to_y: float) -> None:
        self.parts.append(
            f'<line x1="{x:g}" y1="{y:g}" x2="{to_x:g}" y2="{to_y:g}" stroke="{INK}" '
            f'stroke-width="1.5" marker-end="url(#head)"/>'
        )

    def grid(
        self,
        x: float,
        y: float,
        rows: int,
        columns: int,
        side: float,
        fill: Callable[[int, int], str] = lambda row, column: PALE,
        label: Callable[[int, int], str] = lambda row, column: "",
    ) -> None:
        """Draw cells of `side` pixels with colors and text."""
        for row in range(rows):
            for column in range(columns):
                left, top = x + column * side, y + row * side
                self.box(left, top, side, side, fill(row, column))
                if words := label(row, column):
                    self.text(left + side / 2, top + side / 2 + 4, words, 11)

    def svg(self) -> str:
        width, height = self.size
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
                f'width="{width}" height="{height}" {FONT}>',
                f"<title>{escape(self.title)}</title>",
                '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
                f'markerHeight="7" orient="auto"><path d="M0,0 L10,5 L0,10 z" fill="{INK}"/>'
                "</marker></defs>",
                f'<rect width="{width}" height="{height}" rx="6" fill="{PAPER}"/>',
                *self.parts,
                "</svg>\n",
            ]
        )


def im2col() -> str:
    """A 4 × 4 image, its four 3 × 3 windows as rows, and the product with the weight."""
    drawing = Drawing(760, 292, "im2col: each window becomes a row of a matrix")
    side = 26

    def in_window(row: int, column: int, top: int, left: int) -> bool:
        return top <= row < top + 3 and left <= column < left + 3

    drawing.text(72, 30, "image x, 4 × 4", bold=1)
    drawing.grid(
        20,
        44,
        4,
        4,
        side,
        lambda row, column: BLUE if in_window(row, column, 0, 1) else PALE,
        lambda row, column: str(4 * row + column),
    )
    drawing.text(72, 174, "window (0, 1)", 12)
    drawing.text(72, 192, "kernel 3 × 3", 12)
    drawing.arrow(136, 84, 176, 84)
    drawing.text(303, 30, "columns, 4 × 9", bold=1)
    windows = [(0, 0), (0, 1), (1, 0), (1, 1)]

    def value(row: int, column: int) -> str:
        top, left = windows[row]
        return str(4 * (top + column // 3) + left + column % 3)

    drawing.grid(186, 44, 4, 9, side, lambda row, column: BLUE if row == 1 else PALE, value)
    drawing.text(303, 174, "one row per window;", 12)
    drawing.text(303, 192, "pixel 5 is copied four times", 12)
    drawing.text(446, 102, "×", 20)
    drawing.text(499, 30, "weight, 9 × o", bold=1)
    drawing.grid(473, 44, 9, 2, side, lambda row, column: ORANGE if column == 0 else PALE)
    drawing.text(554, 102, "=", 20)
    drawing.text(640, 30, "output y, 4 × o", bold=1)
    drawing.grid(
        614,
        44,
        4,
        2,
        side,
        lambda row, column: GREEN if (row, column) == (1, 0) else PALE,
        lambda row, column: f"y{row}" if column == 0 else "",
    )
    drawing.text(640, 174, "2 × 2 pixels, o channels", 12)
    return drawing.svg()


def weight_gradient() -> str:
    """The gradient of one tap of a convolution with stride 2: its pixels times dy."""
    drawing = Drawing(760, 240, "The weight gradient: the pixels that a tap meets, times dy")
    side = 32
    of_tap = {(2 * r, 2 * q + 1) for r in range(2) for q in range(2)}
    drawing.text(120, 28, "x, 5 × 5", bold=1)
    drawing.grid(
        40,
        40,
        5,
        5,
        side,
        lambda row, column: BLUE if (row, column) in of_tap else PALE,
        lambda row, column: f"x{row}{column}" if (row, column) in of_tap else "",
    )
    drawing.frame(40, 40, 3 * side, 3 * side, INK)
    drawing.text(120, 222, "stride 2; the first window is framed", 12)
    drawing.text(232, 126, "×", 20)
    drawing.text(296, 28, "dy, 2 × 2", bold=1)
    drawing.grid(
        264, 88, 2, 2, side, lambda row, column: ORANGE, lambda row, column: f"dy{row}{column}"
    )
    drawing.arrow(340, 120, 380, 120)
    drawing.text(444, 28, "dw, 3 × 3", bold=1)
    drawing.grid(
        396,
        72,
        3,
        3,
        side,
        lambda row, column: GREEN if (row, column) == (0, 1) else PALE,
        lambda row, column: f"dw{row}{column}" if (row, column) == (0, 1) else "",
    )
    drawing.text(514, 92, "dw01 = x01·dy00 + x03·dy01", anchor="start")
    drawing.text(556, 114, "+ x21·dy10 + x23·dy11", anchor="start")
    drawing.text(514, 146, "Tap (0, 1) meets the four blue", 12, "start")
    drawing.text(514, 164, "pixels, one in each window.", 12, "start")
    return drawing.svg()


def transposed() -> str:
    """The input gradient of a convolution with stride 2, by scattering and by gathering."""
    drawing = Drawing(760, 330, "The input gradient, by scattering and as a transposed convolution")
    side = 24
    drawing.text(180, 28, "scattering: dx += dy · w", 14, bold=1)
    drawing.text(56, 58, "dy, 2 × 2", 12)
    drawing.grid(32, 68, 2, 2, side, lambda row, column: ORANGE if row == column == 0 else PALE)
    drawing.arrow(90, 92, 150, 92)
    drawing.text(120, 82, "· wᵀ", 12)
    drawing.text(240, 58, "dx, 5 × 5", 12)

    def scattered(row: int, column: int) -> str:
        first, second = row < 3 and column < 3, row < 3 and column > 1
        return GREEN if first and second else ORANGE if first else PALE

    drawing.grid(
        180,
        68,
        5,
        5,
        side,
        scattered,
        lambda row, column: "+" if row < 3 and column == 2 else "",
    )
    drawing.frame(180, 68, 3 * side, 3 * side, "#d1700f")
    drawing.frame(180 + 2 * side, 68, 3 * side, 3 * side, "#2f7d32")
    drawing.text(180, 222, "Each output adds its share to the nine pixels", 12)
    drawing.text(180, 240, "of its window. Where windows overlap (+), it adds up.", 12)
    drawing.text(180, 270, "4 outputs × 9 taps = 36 products", 12, bold=1)
    drawing.text(560, 28, "gathering: a transposed convolution", 14, bold=1)
    drawing.text(481, 58, "dy among zeros, 7 × 7", 12)
    placed = {(2, 2): "dy", (2, 4): "dy", (4, 2): "dy", (4, 4): "dy"}
    drawing.grid(
        397,
        68,
        7,
        7,
        side,
        lambda row, column: ORANGE if (row, column) in placed else PALE,
        lambda row, column: placed.get((row, column), "0"),
    )
    drawing.frame(397, 68, 3 * side, 3 * side, "#2f6fab")
    drawing.arrow(572, 152, 602, 152)
    drawing.text(668, 58, "dx, 5 × 5", 12)
    drawing.grid(608, 92, 5, 5, side, lambda row, column: BLUE if row == column == 0 else PALE)
    drawing.text(560, 270, "25 pixels × 9 taps = 225 products, most of them with 0", 12, bold=1)
    drawing.text(380, 310, "kernel 3 × 3, stride 2, no padding: both ways give the same dx", 12)
    return drawing.svg()


def winograd() -> str:
    """The tile of F(4×4, 3×3): 36 products instead of 144."""
    drawing = Drawing(760, 262, "Winograd: 36 products for 4 × 4 outputs instead of 144")
    side = 18
    drawing.text(74, 28, "tile d, 6 × 6", bold=1)
    drawing.grid(20, 40, 6, 6, side, lambda row, column: BLUE)
    drawing.arrow(134, 94, 200, 94)
    drawing.text(166, 84, "Bᵀ d B", 12)
    drawing.grid(208, 40, 6, 6, side, lambda row, column: BLUE)
    drawing.text(331, 99, "∘", 20)
    drawing.text(400, 28, "36 products", bold=1)
    drawing.grid(346, 40, 6, 6, side, lambda row, column: ORANGE)
    drawing.grid(373, 196, 3, 3, side, lambda row, column: ORANGE)
    drawing.arrow(400, 192, 400, 154)
    drawing.text(412, 178, "G w Gᵀ, once per step", 12, "start")
    drawing.text(436, 227, "weight w, 3 × 3", 12, "start")
    drawing.text(140, 178, "per pair of channels; over all tiles", 12)
    drawing.text(140, 196, "36 matrix products (tiles, c) · (c, o)", 12)
    drawing.arrow(468, 94, 534, 94)
    drawing.text(500, 84, "Aᵀ · A", 12)
    drawing.text(590, 28, "outputs, 4 × 4", bold=1)
    drawing.grid(552, 58, 4, 4, side, lambda row, column: GREEN)
    drawing.text(650, 178, "directly: 16 outputs × 9 taps", 12)
    drawing.text(650, 196, "= 144 products", 12)
    return drawing.svg()


def data_flow() -> str:
    """From files to weights: the parts of a training step, with their folders."""
    drawing = Drawing(760, 400, "The way of the data, from image files to weights")
    rows: Sequence[tuple[int, str, Sequence[tuple[str, str]]]] = (
        (
            30,
            "data/",
            (
                ("files", "folders, lists, archives"),
                ("decode, resize", "uint8, kept in memory"),
                ("augment", "seed, epoch, image"),
                ("batch", "normalized, float32"),
            ),
        ),
        (
            140,
            "nn/",
            (
                ("chunks", "a few images per thread"),
                ("forward", "layer by layer"),
                ("loss", "softmax, cross-entropy"),
                ("backward", "layers in reverse"),
            ),
        ),
        (
            250,
            "training/, optim/",
            (
                ("gradients", "summed over chunks"),
                ("update", "SGD, Adam, Muon"),
                ("validation", "after each epoch"),
                ("checkpoint", "last.npz, best.npz"),
            ),
        ),
    )
    fills = (BLUE, GREEN, ORANGE)
    for (top, folder, steps), fill in zip(rows, fills, strict=True):
        drawing.text(20, top, folder, 13, "start", 1)
        for place, (name, about) in enumerate(steps):
            left = 20 + place * 184
            drawing.box(left, top + 12, 164, 56, fill, 6)
            drawing.text(left + 82, top + 35, name, 14, bold=1)
            drawing.text(left + 82, top + 55, about, 11)
            if place:
                drawing.arrow(left - 20, top + 40, left - 1, top + 40)
    for top in (30, 140):
        drawing.parts.append(
            f'<path d="M654,{top + 68} V{top + 84} H164 V{top + 121}" fill="none" stroke="{INK}" '
            'stroke-width="1.5" marker-end="url(#head)"/>'
        )
    drawing.text(
        380, 356, "The checkpoint also holds the optimizer, the schedule and the place", 12
    )
    drawing.text(380, 374, "in the epoch, so that a resumed run ends with the same bits.", 12)
    return drawing.svg()


DIAGRAMS: dict[str, Callable[[], str]] = {
    "data-flow": data_flow,
    "im2col": im2col,
    "transposed": transposed,
    "weight-gradient": weight_gradient,
    "winograd": winograd,
}
