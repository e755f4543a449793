"""The model of more cores than there are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cores_model import Costs, cycle, processes_step, threads_step

COSTS = Costs(fixed=1e-3, per_image=1e-3, python=4e-4, chunks=1, contention=0.0, exchange=0.0)


def test_one_core_is_what_was_measured() -> None:
    assert processes_step(COSTS, 8, 1) == pytest.approx(9e-3)
    assert threads_step(COSTS, 8, 1) == pytest.approx(9e-3)


def test_threads_without_a_lock_are_processes_without_an_exchange() -> None:
    costs = replace(COSTS, python=0.0, contention=0.05)
    for cores in (1, 2, 4, 8):
        assert threads_step(costs, 8, cores) == pytest.approx(processes_step(costs, 8, cores))


def test_the_lock_is_the_limit_of_many_threads() -> None:
    """As many cycles a second as the lock can be held; and never less than one thread takes."""
    assert cycle(1.0, 0.25, 0.0, 64) == pytest.approx(64 * 0.25, rel=0.01)
    assert cycle(1.0, 0.25, 0.0, 1) == 1.25
    times = [cycle(1.0, 0.25, 0.0, threads) for threads in range(1, 9)]
    assert times == sorted(times)


def test_two_threads_by_hand() -> None:
    """The second thread meets the first at the lock a fifth of the time."""
    assert cycle(1.0, 0.25, 0.0, 2) == pytest.approx(1 + 0.25 * (1 + 0.25 / 1.25))


def test_waking_is_found_from_what_two_threads_take() -> None:
    costs = replace(COSTS, wake=3.0)
    seconds = threads_step(costs, 8, 2)
    assert COSTS.with_wake(8, seconds).wake == pytest.approx(3.0)
    assert COSTS.with_wake(8, 0.0).wake == pytest.approx(0.0, abs=1e-9)
