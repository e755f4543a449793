"""The memory of a training, and recomputation when it exceeds the limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from weakref import ref

import pytest
from learnable import config_document, make_pictures
from short_training import Watch, run, weights

from cnn_cli.config import Config, validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.errors import ConfigError
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.training import memory, session
from cnn_cli.training import train as train_module
from cnn_cli.training.memory import plan_memory
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.planning import plan_training
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train

CONV = {"conv": {"out_channels": 32, "kernel_size": 3, "padding": 1}}
DEEP: list[Any] = [*[CONV, "batchnorm", "relu"] * 8, "global_avgpool", {"linear": "classes"}]
LOTS = 10**12


def deep(**train: Any) -> tuple[Config, Graph]:
    config = validate_config({"model": {"layers": DEEP}, "train": train}, "x")
    return config, build_graph(config.model, (64, 64, 3), 4, "x")


def plan(limit: int | None = None, **train: Any) -> memory.MemoryPlan:
    return plan_memory(*deep(**train), "x", 2, "numpy", limit=limit)


@pytest.fixture
def _lots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda **_: LOTS)


@pytest.mark.usefixtures("_lots")
def test_activations_are_computed_twice_where_they_must() -> None:
    once, twice = plan(), plan(recompute=True)
    assert not once.recompute
    assert once.cost == 0
    assert twice.recompute
    assert 0.1 < twice.cost < 1 / 3
    assert once.nbytes > 1.5 * twice.nbytes
    assert plan(once.nbytes) == memory.MemoryPlan(once.nbytes, limit=once.nbytes)
    fits = plan(once.nbytes - 1)
    assert (fits.nbytes, fits.recompute, fits.cost) == (twice.nbytes, True, twice.cost)
    with pytest.raises(ConfigError) as caught:
        plan(twice.nbytes - 1)
    assert str(caught.value).startswith(
        "x: model: the network needs more memory than --memory allows. Got "
    )
    with pytest.raises(ConfigError, match="more memory than --memory allows"):
        plan(once.nbytes - 1, recompute=False)


def test_what_there_is_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    once = plan()
    monkeypatch.setattr(memory, "available_memory", lambda **_: once.nbytes - 1)
    assert plan().recompute
    assert plan(LOTS).recompute
    monkeypatch.setattr(memory, "available_memory", lambda **_: once.nbytes // 3)
    with pytest.raises(ConfigError, match="more memory than there is"):
        plan(LOTS)


@pytest.mark.usefixtures("_lots")
def test_room_for_images() -> None:
    assert plan().room() == LOTS
    assert plan(10**10).room() == 10**10 - plan().nbytes


@pytest.mark.usefixtures("_lots")
def test_where_it_would_not_help_nothing_runs_twice() -> None:
    layers = [CONV, "relu", {"linear": "classes"}]
    config = validate_config({"model": {"layers": layers}, "train": {"recompute": True}}, "x")
    graph = build_graph(config.model, (8, 8, 3), 4, "x")
    assert not plan_memory(config, graph, "x", 1, "numpy").recompute


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


def config_of(pictures: Path, **keys: Any) -> Config:
    document = config_document(pictures, **{"epochs": 2, "precise_bn": True} | keys)
    document["model"]["layers"] = DEEP
    return validate_config(document, "x")


def train_deep(
    pictures: Path, out: Path, watch: Watch | None = None, *, resume: bool = False, **keys: Any
) -> dict[str, bytes]:
    options = TrainOptions(out, threads=2, backend="numpy", resume=resume)
    train(config_of(pictures, **keys), "x", options, Requests(), watch or Watch())
    return weights(out)


def test_a_training_has_the_same_bits_and_says_so(pictures: Path, tmp_path: Path) -> None:
    watch = Watch()
    once = train_deep(pictures, tmp_path / "once", recompute=False)
    assert train_deep(pictures, tmp_path / "twice", watch, recompute=True) == once
    said = [note for note in watch.notes if note.startswith("activations are computed twice")]
    assert len(said) == 1
    assert said[0].endswith("% more arithmetic")


def test_a_run_may_go_on_with_the_other(pictures: Path, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"scheduler": "constant"}
    whole = train_deep(pictures, tmp_path / "whole", recompute=False, **keys)
    train_deep(pictures, tmp_path / "run", epochs=1, recompute=False, **keys)
    assert train_deep(pictures, tmp_path / "run", resume=True, recompute=True, **keys) == whole


def test_the_plan_tells_the_cost(pictures: Path, tmp_path: Path) -> None:
    config = config_of(pictures, recompute=True)
    options = TrainOptions(out=tmp_path / "run", threads=1, backend="numpy")
    found = plan_training(config, "x", options)
    assert 0.1 < found.recompute < 1 / 3
    assert found.remarks[-1] == (
        f"activations are computed twice to save memory: {found.recompute:.0%} more arithmetic"
    )


def test_memory_of_what_came_before_is_returned(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an earlier training, and of the engine before other layers are frozen."""
    engines: list[ref[TrainingEngine]] = []
    alive: list[list[bool]] = []
    open_engine = session.Session.open_engine

    def opened(self: session.Session, *arguments: Any, **options: Any) -> TrainingEngine:
        engine = open_engine(self, *arguments, **options)
        engines.append(ref(engine))
        return engine

    def look() -> None:
        alive.append([engine() is not None for engine in engines])

    monkeypatch.setattr(session.Session, "open_engine", opened)
    for module in (session, train_module):
        monkeypatch.setattr(module, "return_free_memory", look)
    for name in ("first", "second"):
        run(pictures, tmp_path / name, epochs=2, freeze={"stem.*": 1})
    assert alive == [[], [False, True], [False, False], [False, False, False, True]]
