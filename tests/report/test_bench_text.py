"""The table of `cnn bench`."""

from __future__ import annotations

import pytest

from cnn_cli.report.bench import bench_text, shortened
from cnn_cli.report.table import display_width
from cnn_cli.training.bench import Bench, LayerBench

BENCH = Bench(
    batch_size=64,
    threads=2,
    backend="numpy",
    dtype="float32",
    images=32,
    chunk=8,
    layers=(
        LayerBench("layers.3.0.layers.0.layers.0", "conv", 1.5, 100.25, 2.5, 120.0, 0.4),
        LayerBench("pool", "global_avgpool", 0.5, None, 0.5, None, 0.1),
    ),
    engine_ms=4.0,
    optimizer_ms=1.0,
    step_ms=10.0,
    training=1234.56,
    prediction=3456.78,
)
TEXT = """\
milliseconds of one of 2 workers: 32 images of a batch of 64, 8 at a time

name                          type            forward  GFLOP/s  backward  GFLOP/s   share
----------------------------  --------------  -------  -------  --------  -------  ------
layers.3.0.layers.0.layers.0  conv               1.50    100.2      2.50    120.0   40.0%
pool                          global_avgpool     0.50               0.50            10.0%
optimizer                                        1.00                               10.0%
engine                                           4.00                               40.0%
----------------------------  --------------  -------  -------  --------  -------  ------
total                                           10.00                              100.0%

training    1,234.6 images/s
prediction  3,456.8 images/s
            (batch size 64, 2 threads, numpy, float32)
"""


@pytest.mark.parametrize("width", [None, 89, 200])
def test_text(width: int | None) -> None:
    assert bench_text(BENCH, width) == TEXT


@pytest.mark.parametrize("width", [80, 85, 88])
def test_long_names_give_way_to_the_terminal(width: int) -> None:
    table = bench_text(BENCH, width).splitlines()[2:9]
    assert max(map(display_width, table)) == width
    assert table[2].startswith("layers")
    assert ".layers.0  conv" in table[2]
    assert table[3].startswith("pool ")


def test_a_narrow_terminal_leaves_something_of_the_names() -> None:
    assert "laye…ayers.0  conv" in bench_text(BENCH, 20)


def test_shortened() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "ab…efg"


def test_one_worker() -> None:
    from dataclasses import replace

    text = bench_text(replace(BENCH, threads=1))
    assert text.startswith("milliseconds of the worker: 32 images of a batch of 64, 8 at a time\n")
