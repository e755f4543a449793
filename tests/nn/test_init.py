"""Initial weights: bounds, variances, and a random stream per parameter."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from stubs import Stub, small_graph, stub_graph

from cnn_cli.nn.graph import Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.layers.base import ParamSpec
from cnn_cli.nn.layers.conv import Conv
from cnn_cli.nn.layers.prelu import PReLU
from cnn_cli.nn.params import Parameters

Scheme = Literal["pytorch", "kaiming"]
SCHEMES: tuple[Scheme, ...] = ("pytorch", "kaiming")


def drawn(graph: Graph, seed: int = 0, scheme: Scheme = "pytorch") -> Parameters:
    params = Parameters(graph, "float32")
    params.flat.fill(np.nan)
    initialize(params, seed, scheme)
    return params


def wide(fan_in: int = 50) -> Graph:
    """Return one layer with enough weights for statistics."""
    return stub_graph(
        layer=Stub(
            ParamSpec("weight", (fan_in, 2000), "weight", fan_in, (1, 0)),
            ParamSpec("bias", (2000,), "bias", fan_in),
        )
    )


def test_pytorch_is_uniform_within_one_over_the_root_of_fan_in() -> None:
    views = drawn(wide()).views[0]
    bound = 1 / math.sqrt(50)
    for values in views.values():
        assert bound * 0.99 < np.abs(values).max() <= bound
        # Uniform: the variance is bound²/3 and the kurtosis 9/5.
        assert values.var() == pytest.approx(bound**2 / 3, rel=0.05)
        assert abs(values.mean()) < bound * 0.05
        kurtosis = ((values - values.mean()) ** 4).mean() / values.var() ** 2
        assert kurtosis == pytest.approx(1.8, rel=0.05)


@pytest.mark.parametrize("fan_in", [2, 50, 128])
def test_kaiming_is_normal_with_variance_two_over_fan_in(fan_in: int) -> None:
    views = drawn(wide(fan_in), scheme="kaiming").views[0]
    values = views["weight"]
    assert values.var() == pytest.approx(2 / fan_in, rel=0.06)
    assert abs(values.mean()) < 0.05 * math.sqrt(2 / fan_in)
    kurtosis = ((values - values.mean()) ** 4).mean() / values.var() ** 2
    assert kurtosis == pytest.approx(3, rel=0.15)
    assert not views["bias"].any()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_scales_are_one_and_shifts_zero(scheme: Scheme) -> None:
    views = drawn(small_graph(), scheme=scheme).views[1]
    assert views["weight"].tolist() == [1.0] * 4
    assert views["bias"].tolist() == [0.0] * 4


@pytest.mark.parametrize("scheme", SCHEMES)
def test_slopes_are_a_quarter(scheme: Scheme) -> None:
    graph = stub_graph(prelu=PReLU((2, 2, 3), num_parameters=3))
    assert drawn(graph, scheme=scheme).views[0]["weight"].tolist() == [0.25] * 3


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_bias_beside_given_filters_is_0(scheme: Scheme) -> None:
    layer = Conv((6, 6, 3), out_channels=5, kernel_size=(3, 3), init="dirac")
    assert drawn(stub_graph(layer=layer), scheme=scheme).named()["layer/bias"].tolist() == [0.0] * 5


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_seed_gives_the_same_bits_and_another_seed_others(scheme: Scheme) -> None:
    one, again, other = (drawn(small_graph(), seed, scheme) for seed in (3, 3, 4))
    for name, values in one.named().items():
        assert (again.named()[name] == values).all()
    assert (other.views[0]["weight"] != one.views[0]["weight"]).all()


def test_every_parameter_has_a_stream_of_its_own() -> None:
    spec = ParamSpec("weight", (40,), "weight", 9)
    bias = ParamSpec("bias", (40,), "bias", 9)
    params = drawn(stub_graph(a=Stub(spec, bias), b=Stub(spec, bias)))
    values = [view for node in params.views for view in node.values()]
    for i, one in enumerate(values):
        for other in values[i + 1 :]:
            assert not np.isin(one, other).any()


def test_a_parameter_does_not_depend_on_the_others_sizes() -> None:
    spec = ParamSpec("weight", (40,), "weight", 9)
    small = stub_graph(a=Stub(ParamSpec("weight", (1,), "weight", 9)), b=Stub(spec))
    large = stub_graph(a=Stub(ParamSpec("weight", (999,), "weight", 9)), b=Stub(spec))
    assert (drawn(small).views[1]["weight"] == drawn(large).views[1]["weight"]).all()


def test_weights_do_not_depend_on_the_layout_of_the_kernels() -> None:
    own = stub_graph(a=Stub(ParamSpec("weight", (3, 2, 5, 4), "weight", 30, (3, 2, 0, 1))))
    torch = stub_graph(a=Stub(ParamSpec("weight", (4, 5, 3, 2), "weight", 30)))
    assert (drawn(own).named()["a/weight"] == drawn(torch).named()["a/weight"]).all()


def test_gaps_are_left_alone() -> None:
    params = Parameters(small_graph(), "float32")
    initialize(params, 0, "pytorch")
    for node_views in params.views:
        for view in node_views.values():
            view[...] = 0
    assert not params.flat.any()


def test_dirac_is_torchs_on_the_first_filters() -> None:
    """As torch.nn.init.dirac_ on the first `in` filters; the others are random."""
    layer = Conv((6, 6, 3), out_channels=5, kernel_size=(3, 4), init="dirac")
    params = drawn(stub_graph(layer=layer))
    plain = drawn(stub_graph(layer=Conv((6, 6, 3), out_channels=5, kernel_size=(3, 4))))
    weight, others = params.named()["layer/weight"], plain.named()["layer/weight"]
    expected = np.zeros((3, 3, 3, 4))
    expected[np.arange(3), np.arange(3), 1, 2] = 1
    np.testing.assert_array_equal(weight[:3], expected)
    np.testing.assert_array_equal(weight[3:], others[3:])


def test_dirac_of_more_channels_than_filters() -> None:
    layer = Conv((6, 6, 4), out_channels=2, kernel_size=(1, 1), init="dirac")
    weight = drawn(stub_graph(layer=layer)).named()["layer/weight"]
    np.testing.assert_array_equal(weight[:, :, 0, 0], np.eye(2, 4))
