"""Threads that call functions."""

from __future__ import annotations

import threading

import pytest
from patience import PATIENCE

from cnn_cli.data.reading_threads import Pool


def test_submit_gives_results_and_errors() -> None:
    with Pool(3) as pool:
        futures = [pool.submit(divmod, 7, i) for i in range(3)]
        assert futures[2].result() == (3, 1)
        assert futures[1].result() == (7, 0)
        with pytest.raises(ZeroDivisionError):
            futures[0].result()


def test_run_calls_on_every_thread_and_raises_once_all_are_done() -> None:
    meeting = threading.Barrier(4)
    ended: list[int] = []

    def work() -> None:
        place = meeting.wait(timeout=PATIENCE)
        if place == 2:
            raise KeyError("two")
        ended.append(place)

    with Pool(4) as pool, pytest.raises(KeyError):
        pool.run(work)
    assert sorted(ended) == [0, 1, 3]


def test_close_ends_daemon_threads_after_what_is_queued() -> None:
    pool = Pool(1)
    futures = [pool.submit(threading.current_thread) for _ in range(3)]
    pool.close()
    (thread,) = {future.result(timeout=PATIENCE) for future in futures}
    assert (thread.name, thread.daemon) == ("data-0", True)
    thread.join(timeout=PATIENCE)
    assert not thread.is_alive()
