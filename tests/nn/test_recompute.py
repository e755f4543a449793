"""Gradient checkpointing: fewer activations in memory, and the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.nn.backends import load_backend
from cnn_cli.nn.fuse import kernel_kinds
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.kernels.interface import NUMPY, Kernels
from cnn_cli.nn.loss import target_weights
from cnn_cli.nn.memory import recompute_cost
from cnn_cli.nn.mix import Mix
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.plan import plan_segments
from cnn_cli.nn.recompute import Recompute, plan_recompute
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.nn.types import Array
from cnn_cli.optim.groups import freeze_graph

CONV = {"conv": {"out_channels": 8, "kernel_size": 3, "padding": 1}}
BLOCK = {"residual": {"layers": [CONV, "batchnorm", "relu", CONV, "batchnorm"]}}
SQUEEZED = {
    "residual": {"layers": [CONV, "batchnorm", "silu", {"squeeze_excite": {"squeeze_channels": 4}}]}
}
NETWORKS: dict[str, list[Any]] = {
    "plain": [CONV, "batchnorm", "relu", *[CONV, "batchnorm", "silu"] * 4],
    "residual": [CONV, "batchnorm", "relu", {"repeat": {"times": 4, "layers": [BLOCK, "relu"]}}],
    "branches": [
        CONV,
        "batchnorm",
        "relu",
        {"repeat": {"times": 3, "layers": [{"branches": [[CONV, "batchnorm", "relu"], []]}]}},
        *[CONV, "batchnorm", {"residual": {"layers": [CONV, "batchnorm"], "drop_path": 0.3}}] * 2,
    ],
    "dropped": [
        *[CONV, "batchnorm", "relu", {"dropout": 0.3}] * 2,
        {"maxpool": 2},
        *[CONV, "batchnorm", "hardswish"] * 2,
        SQUEEZED,
        "relu",
    ],
}
END = ["global_avgpool", {"linear": "classes"}]


def network(layers: list[Any], freeze: object = 0) -> Graph:
    document = {"model": {"layers": [*layers, *END]}, "train": {"freeze": freeze}}
    config = validate_config(document, "x")
    graph = build_graph(config.model, (12, 12, 3), 4, "x")
    return freeze_graph(graph, config.train.rules, 0)


def planned(graph: Graph) -> Recompute:
    return plan_recompute(graph, plan_segments(graph, training=True))


def steps(
    graph: Graph, dtype: str, kernels: Kernels, *, recompute: bool, threads: int = 2
) -> list[Array]:
    """Return the results of some steps: losses, gradients, running statistics."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (22, *graph.in_shape)).astype(np.uint8)
    targets, divisor = target_weights(rng.integers(0, 4, 11), 4, dtype=dtype)
    strengths = rng.uniform(0.5, 1, 11)
    mix = Mix(rng.integers(0, 22, 11), strengths, strengths, np.zeros((11, 4), np.int64))
    params = Parameters(graph, dtype)
    initialize(params, 0, "pytorch")
    scale, shift = np.full(3, 0.02), np.full(3, -1.0)
    found: list[Array] = []
    with TrainingEngine(
        graph,
        params,
        threads=threads,
        seed=3,
        scale=scale,
        shift=shift,
        kernels=kernels,
        recompute=recompute,
    ) as engine:
        for step in range(3):
            loss, logits = engine.train_step(images, targets, divisor, step=step, mix=mix)
            found += [np.array(loss), logits.copy(), engine.gradient.copy()]
            params.flat -= (0.01 * engine.gradient).astype(dtype)
            params.touch()
            assert [workspace.in_use for workspace in engine.workspaces] == [0] * threads
        statistics = engine.batch_statistics(images[:11], step=9)
        found += [each for index in sorted(statistics) for each in (statistics[index].mean,)]
        assert [workspace.in_use for workspace in engine.workspaces] == [0] * threads
    return [*found, params.flat_buffers.copy(), params.flat.copy()]


@pytest.mark.parametrize("backend", ["numpy", "fast"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_bits_are_the_same(
    name: str, dtype: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend == "fast":
        pytest.importorskip("numba")
    monkeypatch.setattr("cnn_cli.nn.engine.CHUNK_BYTES", 60_000)
    graph = network(NETWORKS[name])
    assert len(planned(graph).parts) > 1
    kernels = load_backend(backend, kinds=kernel_kinds(graph))
    once = steps(graph, dtype, kernels, recompute=False)
    twice = steps(graph, dtype, kernels, recompute=True)
    for one, two in zip(once, twice, strict=True):
        assert one.tobytes() == two.tobytes()


def test_fewer_numbers_wait_and_the_cost_is_known() -> None:
    graph = network([CONV, "batchnorm", "relu", *[CONV, "batchnorm", "relu"] * 8])
    segments = plan_segments(graph, training=True)
    found = plan_recompute(graph, segments)
    muladds = sum(node.layer.muladds for node in graph.nodes)
    again = sum(
        step.node.layer.muladds
        for part in found.parts
        for segment in segments[part.first : part.last + 1]
        for step in segment.steps
    )
    assert 0 < found.muladds == again < muladds
    assert recompute_cost(graph) == pytest.approx(again / (3 * muladds))
    image, wide = 12 * 12 * 3, 12 * 12 * 8
    assert found.numbers < (image + 9 * 2 * wide) / 2


def test_a_network_without_batchnorm_runs_once() -> None:
    assert planned(network([CONV, "relu", CONV, {"groupnorm": 2}])).parts == ()
    assert recompute_cost(network([CONV, "relu"])) == 0


@pytest.mark.parametrize("freeze", [1, 3, 4])
def test_frozen_layers_do_not_run_again(freeze: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnn_cli.nn.engine.CHUNK_BYTES", 60_000)
    graph = network(NETWORKS["residual"], freeze)
    parts = planned(graph).parts
    segments = plan_segments(graph, training=True)
    assert parts
    for part in parts:
        steps_of = [step for s in segments[part.first : part.last + 1] for step in s.steps]
        assert any(step.has_backward for step in steps_of)
    once = steps(graph, "float32", NUMPY, recompute=False)
    twice = steps(graph, "float32", NUMPY, recompute=True)
    assert [one.tobytes() for one in once] == [two.tobytes() for two in twice]


@pytest.mark.parametrize("name", ["densenet121", "efficientnet-b0", "shufflenet-v2", "googlenet"])
def test_named_networks(name: str) -> None:
    """With their branches, gates and views."""
    config = validate_config({"model": {"network": name}}, name)
    graph = build_graph(config.model, (64, 64, 3), 4, name)
    assert len(planned(graph).parts) > 2
    once = steps(graph, "float32", NUMPY, recompute=False)
    twice = steps(graph, "float32", NUMPY, recompute=True)
    assert [one.tobytes() for one in once] == [two.tobytes() for two in twice]
