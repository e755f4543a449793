"""Benchmark of several ranks: the time of a step, and the share of communication."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hardship import cnn, make_field
from mpiexec import mpiexec, needs_mpi, together

from cnn_cli.bench.rank_bench import overlap_of, rank_bench, repeat_together
from cnn_cli.cli.shared.networks import open_network
from cnn_cli.errors import ConfigError
from cnn_cli.nn.init import initialize
from cnn_cli.nn.kernels.interface import NUMPY
from cnn_cli.nn.memory import training_bytes
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array
from cnn_cli.parallel.ranks import Alone
from cnn_cli.training import memory


@pytest.mark.parametrize(("waited", "overlap"), [(0.0, 1.0), (1.0, 0.75), (4.0, 0.0), (5.0, 0.0)])
def test_what_is_not_waited_for(waited: float, overlap: float) -> None:
    assert overlap_of(waited, sums=4.0) == overlap


def test_all_ranks_repeat_as_often_as_the_first() -> None:
    class Second(Alone):
        """Continues three times."""

        told = iter([True, True, True, False])

        def first(self, make: Any) -> Any:
            return next(self.told)

    calls: list[int] = []
    repeat_together(lambda: calls.append(1), Second(), seconds=1e9)
    assert len(calls) == 1 + 3


@needs_mpi
@pytest.mark.parametrize("layer", ["batchnorm", "groupnorm"])
def test_two_ranks(tmp_path: Path, layer: str) -> None:
    config = make_field(tmp_path, batch_size=5, dtype="float64").config
    text = config.read_text().replace("- batchnorm\n", f"- {layer}: {{}}\n")
    config.write_text(text.replace("{}", "2" if layer == "groupnorm" else "{}"))
    line = ("bench", config, "train.freeze=[]", "--ranks", "--seconds", 0)
    outcome = mpiexec(together(2, *line, "--json", "--threads", 1))
    assert (outcome.code, outcome.err) == (0, ""), outcome.err
    found = json.loads(outcome.out)
    times = ("step_ms", "compute_ms", "sums_ms", "gathers_ms", "images_per_second")
    assert all(found.pop(key) > 0 for key in times)
    parameters = 6 * 9 + 6 + 6 + 6 + 4 * 4 * 6 * 3 + 3
    assert found.pop("sum_bytes") >= 8 * parameters
    overlap = found.pop("overlap")
    batchnorm = layer == "batchnorm"
    assert (overlap is not None) == batchnorm
    assert found == {
        "ranks": 2,
        "threads": 1,
        "backend": "numpy",
        "dtype": "float64",
        "batch_size": 5,
        "images": 3,
        "sums": 2 if batchnorm else 1,
        "gathers": 2 if batchnorm else 0,  # for six channels: three numbers forward, two backward
        "gather_bytes": (3 + 2) * 6 * 8 if batchnorm else 0,
    }
    outcome = mpiexec(together(2, *line, "--backend", "numpy"))
    assert outcome.code == 0
    assert outcome.out.splitlines()[0].startswith("a step of all ")
    assert outcome.out.endswith("numpy, float64, batch size 5, up to 3 images a rank)\n")
    assert ("statistics" in outcome.out) == batchnorm


class Four(Alone):
    """One rank of four, all with the same images."""

    size = 4

    def gather(self, numbers: Array) -> Array:
        return np.repeat(numbers[None], self.size, axis=0)


@pytest.mark.parametrize("neighbors", [1, 2])
def test_a_rank_has_memory_for_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, neighbors: int
) -> None:
    """The whole batch would not fit, nor would two ranks on one machine."""
    config = make_field(tmp_path, batch_size=2000).config
    network = open_network(str(config), ["train.freeze=[]"], None)
    graph, train = network.graph, network.config.train
    need = training_bytes(graph, train.model_copy(update={"batch_size": 500}), 1)
    assert need < training_bytes(graph, train, 1)
    monkeypatch.setattr(memory, "available_memory", lambda processes: need // processes)
    monkeypatch.setattr(Four, "neighbors", neighbors)
    params = Parameters(graph, train.dtype)
    initialize(params, 0, network.config.model.init)
    rule = "the network needs more memory than there is"
    with nullcontext() if neighbors == 1 else pytest.raises(ConfigError, match=rule):
        found = rank_bench(
            graph, params, network.config, "x", Four(), threads=1, kernels=NUMPY, seconds=0
        )
        assert (found.ranks, found.images, found.gathers) == (4, 500, 2)


def test_one_process(tmp_path: Path) -> None:
    outcome = cnn("bench", make_field(tmp_path).config, "--ranks")
    text = "--ranks: needs several processes: mpiexec -n 2 cnn bench ... --ranks."
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"cnn: {text}\n")


@needs_mpi
def test_more_ranks_than_images(tmp_path: Path) -> None:
    config = make_field(tmp_path, batch_size=1).config
    outcome = mpiexec(together(2, "bench", config, "--ranks"))
    text = f"cnn: {config}: train.batch_size: must be 2 or more. Got 1.\n"
    assert (outcome.code, outcome.out, outcome.err) == (3, "", text)


@needs_mpi
def test_without_the_option_the_first_rank_alone(tmp_path: Path) -> None:
    config = make_field(tmp_path).config
    outcome = mpiexec(together(2, "bench", config, "--seconds", 0, "--json"))
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out)["batch_size"] == 16
