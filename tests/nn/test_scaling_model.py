"""The model for many ranks: its arithmetic, and its simulated exchange."""

from __future__ import annotations

import numpy as np
import pytest
from delayed import Delayed, Noted
from scaling import Check, foretold, page_scaling, page_simulation, strong, weak
from scaling_model import Costs, Link, Part, step_time
from test_engine import batch, network

from cnn_cli.cli.docs import page_text
from cnn_cli.nn.training_engine import TrainingEngine

LINK = Link(latency=1.0, bandwidth=10.0)


@pytest.mark.parametrize(
    ("ranks", "gather", "total"),
    [(1, 0.0, 0.0), (2, 1 + 2.0, 2 + 2.0), (3, 2 + 4.0, 4 + 8 / 3), (8, 3 + 14.0, 6 + 3.5)],
)
def test_messages(ranks: int, gather: float, total: float) -> None:
    """For 20 bytes: rounds of latency, and the transfer."""
    assert LINK.gather(20, ranks) == pytest.approx(gather)
    assert LINK.sum(20, ranks) == pytest.approx(total)


def costs(*parts: Part, forward: tuple[int, ...] = ()) -> Costs:
    return Costs(
        fixed=4.0,
        per_image=2.0,
        combine=0.5,
        optimizer=3.0,
        forward_gathers=forward,
        backward=parts,
    )


def test_alone_nothing_is_exchanged() -> None:
    step = step_time(costs(Part(1.0, (20,), 0), forward=(20,)), LINK, 1, 8)
    assert (step.compute, step.gathers, step.late, step.optimizer) == (20, 0, 0, 3)
    assert step.total == 23


def test_one_segment_hides_nothing() -> None:
    step = step_time(costs(Part(0.6, (20, 10), 0)), LINK, 2, 8)
    assert step.late == pytest.approx((2 + 2) + (2 + 1))
    assert step.total == pytest.approx(20 + 7 + 3)


def test_sums_go_on_while_others_compute() -> None:
    """Segments that take 8 and 4 seconds backward, with a gather of 3 + 2·0.5 between them."""
    late = step_time(costs(Part(0.4, (100,), 20), Part(0.2, (20,), 0)), LINK, 2, 8)
    # The first sum ends at 8 + 12 = 20, after the second segment at 8 + 4 + 4 = 16.
    assert late.late == pytest.approx(20 + 4 - 16)
    hidden = step_time(costs(Part(0.4, (20,), 20), Part(0.2, (20,), 0)), LINK, 2, 8)
    assert hidden.late == pytest.approx(4)
    assert hidden.gathers == pytest.approx(4)


class Clock:
    """A clock that advances only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("ranks", [2, 3, 1024])
@pytest.mark.parametrize("name", ["one segment", "batchnorm"])
def test_a_simulated_step_takes_what_the_model_says(name: str, ranks: int) -> None:
    """Without computing time: every gather, and the sums that are not complete."""
    x, targets, divisor = batch(6)
    clock = Clock()
    exchange = Noted(LINK, ranks, lambda: clock.now, clock.sleep)
    graph, params = network(name)
    with (
        TrainingEngine(graph, params, exchange=exchange) as engine,
        exchange.one_step() as messages,
    ):
        engine.train_step(x, targets, divisor)
    assert len(messages.backward) == len(messages.forward) + 1
    parts = tuple(Part(0.0, sums, gather) for sums, gather in messages.backward)
    free = Costs(0.0, 0.0, 0.0, 0.0, tuple(messages.forward), parts)
    assert clock.now == pytest.approx(step_time(free, LINK, ranks, 6).total)


def test_ranks_with_the_same_images_find_the_same_statistics() -> None:
    x, targets, divisor = batch(6)
    found = []
    for exchange in (None, Delayed(LINK, 64, lambda: 0.0, lambda _: None)):
        graph, params = network("batchnorm")
        with TrainingEngine(graph, params, exchange=exchange) as engine:
            engine.train_step(x, targets, divisor)
            means = [buffers["running_mean"] for buffers in params.buffer_views if buffers]
            found.append((engine.gradient.copy(), np.concatenate(means)))
    for one, many in zip(*found, strict=True):
        np.testing.assert_allclose(many, one, rtol=1e-9, atol=1e-12)


def test_one_batch_for_all_and_a_share_each() -> None:
    """With another rank, sums take 2 + 7 seconds more."""
    alike = costs(Part(1.0, (70,), 0))
    assert foretold(alike, LINK, 1, strong)[1] == foretold(alike, LINK, 1, weak)[1] == 1
    step, efficiency = foretold(alike, LINK, 2, strong)
    assert step.total == pytest.approx(4 + 2 * 512 + 9 + 3)
    assert efficiency == pytest.approx((4 + 2 * 1024 + 3) / 2 / step.total)
    step, efficiency = foretold(alike, LINK, 2, weak)
    assert step.total == pytest.approx(4 + 2 * 128 + 9 + 3)
    assert efficiency == pytest.approx((4 + 2 * 128 + 3) / step.total)


def test_the_page_has_the_tables_that_the_benchmark_prints() -> None:
    """Their headings; the numbers were measured on an idle machine."""
    tables = page_scaling(costs()), page_simulation([Check("1 Gbit/s", 2, (0.01, 0.0125))])
    for table in tables:
        heading = "".join(table.splitlines(keepends=True)[:2])
        assert heading in page_text("several-machines")
    rows = [line.split(" | ")[0].strip("| ") for line in tables[0].splitlines()[2:]]
    assert rows == [f"{2**i:,}" for i in range(11)]
    assert tables[1].endswith("| 1 Gbit/s | 2 | 10.0 | 12.5 |\n")
