"""The measurements of `bench` are consistent; durations are not tested."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnn_cli.bench.network_bench import Bench, bench
from cnn_cli.config import Config, validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.errors import ConfigError
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.kernels.interface import NUMPY
from cnn_cli.nn.layers.conv import Conv
from cnn_cli.nn.params import Parameters

LAYERS: list[Any] = [
    {"conv": {"out_channels": 4, "kernel_size": 3, "name": "stem"}},
    "batchnorm",
    "relu",
    {"conv": {"out_channels": 6, "kernel_size": 3}},
    {"linear": "classes"},
]


def network(
    batch_size: int = 5, layers: list[Any] = LAYERS, **train: Any
) -> tuple[Config, Graph, Parameters]:
    document = {"model": {"layers": layers}, "train": {"batch_size": batch_size, **train}}
    config = validate_config(document, "c.yaml")
    graph = build_graph(config.model, (8, 8, 3), 3, "c.yaml")
    params = Parameters(graph, "float32")
    initialize(params, 0, "pytorch")
    return config, graph, params


def measured(threads: int = 2, layers: list[Any] = LAYERS, **train: Any) -> Bench:
    config, graph, params = network(layers=layers, **train)
    return bench(graph, params, config, "c.yaml", threads=threads, kernels=NUMPY, seconds=0)


def test_layers_in_their_order() -> None:
    result = measured()
    assert [(layer.name, layer.type) for layer in result.layers] == [
        ("stem", "conv"),
        ("layers.1", "batchnorm"),
        ("layers.2", "relu"),
        ("layers.3", "conv"),
        ("layers.4", "linear"),
    ]


@pytest.mark.parametrize(("threads", "images"), [(1, 5), (2, 3), (4, 2)])
def test_one_workers_share(threads: int, images: int) -> None:
    result = measured(threads)
    assert (result.batch_size, result.threads) == (5, threads)
    assert (result.images, result.chunk) == (images, images)


def test_shares_add_up() -> None:
    result = measured()
    layers = sum(layer.forward_ms + layer.backward_ms for layer in result.layers)
    rest = result.step_ms - result.optimizer_ms - layers
    assert result.engine_ms == pytest.approx(max(rest, 0), abs=1e-9)
    assert sum(layer.share for layer in result.layers) == pytest.approx(layers / result.step_ms)
    assert result.training > 0
    assert result.prediction > 0


def test_operations_a_second() -> None:
    result = measured()
    # Two per multiply-add, for 3 images; the first layer's input has no gradient.
    flops = {0: 2 * 3 * 36 * 4 * 27, 3: 2 * 3 * 16 * 6 * 36, 4: 2 * 3 * 3 * 96}
    for i, layer in enumerate(result.layers):
        if i not in flops:
            assert layer.forward_gflops is layer.backward_gflops is None
            continue
        assert layer.forward_gflops is not None
        assert layer.backward_gflops is not None
        products = 1 if i == 0 else 2
        assert layer.forward_gflops * layer.forward_ms * 1e6 == pytest.approx(flops[i])
        backward = layer.backward_gflops * layer.backward_ms * 1e6
        assert backward == pytest.approx(products * flops[i])


def count_calls(
    patch: pytest.MonkeyPatch, method: str, layers: list[Any] = LAYERS, **train: Any
) -> int:
    """Return how often convolutions run `method` while a network is measured."""
    calls = []
    original = getattr(Conv, method)

    def counted(self: Conv, *args: Any) -> Any:
        calls.append(self)
        return original(self, *args)

    with patch.context() as each:
        each.setattr(Conv, method, counted)
        measured(1, layers, **train)
    return len(calls)


def test_frozen_layers_have_no_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    freeze = {"stem.*": 0, "batchnorm.*": 0, "linear.*": 2}
    calls = count_calls(monkeypatch, "backward", freeze=freeze)
    assert 0 < 2 * calls == count_calls(monkeypatch, "backward")
    layers = measured(freeze=freeze).layers
    assert layers[0].backward_gflops is None
    for layer, products in zip(layers[3:], (1, 2), strict=True):
        assert layer.forward_gflops is not None
        assert layer.backward_gflops is not None
        flops = products * layer.forward_gflops * layer.forward_ms
        assert layer.backward_gflops * layer.backward_ms == pytest.approx(flops)


def test_recomputed_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    block = [{"conv": {"out_channels": 8, "kernel_size": 3, "padding": 1}}, "batchnorm", "relu"]
    layers = [*block * 4, {"linear": "classes"}]
    once = count_calls(monkeypatch, "forward", layers, recompute=False)
    assert count_calls(monkeypatch, "forward", layers, recompute=True) > once


def test_weights_stay_as_they_are() -> None:
    config, graph, params = network()
    before = params.flat.copy()
    bench(graph, params, config, "c.yaml", threads=1, kernels=NUMPY, seconds=0)
    np.testing.assert_array_equal(params.flat, before)


def test_more_memory_than_there_is() -> None:
    config, graph, params = network(batch_size=10**9)
    with pytest.raises(ConfigError) as caught:
        bench(graph, params, config, "c.yaml", threads=1, kernels=NUMPY, seconds=0)
    assert caught.value.place == "c.yaml: model"
    assert caught.value.rule == "the network needs more memory than there is"
