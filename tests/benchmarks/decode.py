"""Time saved by decoding large JPEGs at a reduced size, on one core: `python
tests/benchmarks/decode.py`.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import harness
import numpy as np
from pictures import picture
from PIL import Image

from cnn_cli.data import draft
from cnn_cli.data.decode import load_image
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.report.text.table import format_table

SIZES = ((500, 375), (1000, 750), (1600, 1200), (2000, 1500), (3000, 2250))
SIDES = (224, 64)
HEADER = ("JPEG", "kB", "for", "whole, ms", "smaller, ms", "gain", "mean difference", "largest")


def main() -> None:
    parser = harness.arguments("Times the decoding of large JPEGs on one core.", rounds=15)
    options = parser.parse_args()
    harness.prepare(torch_is_needed=False)
    rows = []
    for size in SIZES:
        stream = io.BytesIO()
        Image.fromarray(picture(*size, seed=0)).save(stream, "JPEG", quality=88)
        rows += [row(size, stream.getvalue(), side, options.rounds) for side in SIDES]
    print(format_table(HEADER, rows, "lrrrrrrr"), end="")


def row(size: tuple[int, int], data: bytes, side: int, rounds: int) -> tuple[str, ...]:
    pre = Preprocess(side, side, 3)
    factors = draft.FACTORS
    best = {True: np.inf, False: np.inf}
    for _ in range(rounds):
        for whole in (True, False):
            draft.FACTORS = () if whole else factors
            best[whole] = min(best[whole], seconds_of_cpu(lambda: load_image(data, pre)))
            if whole:
                expected = load_image(data, pre).astype(int)
    difference = np.abs(load_image(data, pre) - expected)
    return (
        f"{size[0]}x{size[1]}",
        f"{len(data) / 1000:,.0f}",
        str(side),
        f"{1e3 * best[True]:.1f}",
        f"{1e3 * best[False]:.1f}",
        f"{best[True] / best[False]:.2f}",
        f"{difference.mean():.2f}",
        f"{difference.max()}",
    )


def seconds_of_cpu(act: Callable[[], object]) -> float:
    """Return the CPU seconds of this thread, which exclude other programs' use of the core."""
    start = time.thread_time()
    act()
    return time.thread_time() - start


if __name__ == "__main__":
    main()
