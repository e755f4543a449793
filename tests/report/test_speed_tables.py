"""The table of `cnn bench`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cnn_cli.bench.network_bench import Bench, LayerBench
from cnn_cli.bench.rank_bench import RankBench
from cnn_cli.report.text.speed_tables import bench_text, rank_bench_text, shortened
from cnn_cli.report.text.table import display_width

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


RANKS = RankBench(
    ranks=8,
    threads=2,
    backend="fast",
    dtype="float32",
    batch_size=1024,
    images=128,
    step_ms=1081.7,
    compute_ms=75.6,
    sums=26,
    sum_bytes=2_179_840,
    sums_ms=0.534,
    gathers=38,
    gather_bytes=31_360,
    gathers_ms=0.1,
    overlap=0.934,
    images_per_second=946.66,
)
RANKS_TEXT = """\
a step of all              1,081.70 ms
the same without exchange  75.60 ms
sums of gradients          0.53 ms for 26 sums of 2,179.8 kB together, 93% of their time while layers compute
statistics                 0.10 ms for 38 gathers of 31.4 kB together
training                   946.7 images/s
                           (8 ranks of 2 threads, fast, float32, batch size 1024, up to 128 images a rank)
"""  # noqa: E501 - as it is printed


def test_ranks() -> None:
    assert rank_bench_text(RANKS) == RANKS_TEXT


def test_ranks_with_one_segment() -> None:
    """There are no statistics, and nothing to overlap."""
    lines = rank_bench_text(replace(RANKS, gathers=0, overlap=None, sums=1, threads=1)).splitlines()
    assert lines[2] == "sums of gradients          0.53 ms for 1 sum of 2,179.8 kB together"
    assert lines[3].startswith("training ")
    assert "(8 ranks of 1 thread, " in lines[4]


def test_one_worker() -> None:
    text = bench_text(replace(BENCH, threads=1))
    assert text.startswith("milliseconds of the worker: 32 images of a batch of 64, 8 at a time\n")
