"""Workers: all are called, with NumPy's settings for workers, and errors are propagated."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from cnn_cli.nn.team import BUFFER, Team


@pytest.fixture
def team() -> Team:
    return Team(3)


def test_every_worker_has_a_turn_and_its_settings(team: Team) -> None:
    outside = np.getbufsize()
    threads: dict[int, str] = {}
    settings: dict[int, tuple[int, str]] = {}

    def job(worker: int) -> None:
        threads[worker] = threading.current_thread().name
        settings[worker] = np.getbufsize(), np.geterr()["over"]

    team.run(job)
    assert settings == dict.fromkeys(range(3), (BUFFER, "ignore"))
    assert len(set(threads.values())) == 3
    assert np.getbufsize() == outside
    team.close()


def test_an_error_is_raised_after_all_have_ended(team: Team) -> None:
    ended = []

    def job(worker: int) -> None:
        if worker == 1:
            raise ValueError("one of them")
        ended.append(worker)

    with pytest.raises(ValueError, match="one of them"):
        team.run(job)
    assert sorted(ended) == [0, 2]
    team.close()
