"""The measurements of `bench` are consistent; durations are not tested."""

from __future__ import annotations

import numpy as np
import pytest

from cnn_cli.bench.network_bench import Bench, bench
from cnn_cli.config import Config, validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.errors import ConfigError
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.kernels.interface import NUMPY
from cnn_cli.nn.params import Parameters

LAYERS = [
    {"conv": {"out_channels": 4, "kernel_size": 3, "name": "stem"}},
    "batchnorm",
    "relu",
    {"conv": {"out_channels": 6, "kernel_size": 3}},
    {"linear": "classes"},
]


def network(batch_size: int = 5) -> tuple[Config, Graph, Parameters]:
    document = {"model": {"layers": LAYERS}, "train": {"batch_size": batch_size}}
    config = validate_config(document, "c.yaml")
    graph = build_graph(config.model, (8, 8, 3), 3, "c.yaml")
    params = Parameters(graph, "float32")
    initialize(params, 0, "pytorch")
    return config, graph, params


def measured(threads: int = 2) -> Bench:
    config, graph, params = network()
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
