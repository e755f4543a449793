"""The flat arrays, their views, and errors for tensors that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from stubs import Stub, small_graph, stub_graph

from cnn_cli.errors import DataError
from cnn_cli.nn.layers.base import ParamSpec
from cnn_cli.nn.params import ALIGNMENT, Parameters
from cnn_cli.nn.types import Array


def filled(dtype: str = "float32") -> Parameters:
    """Return the small network with a different number everywhere."""
    params = Parameters(small_graph(), dtype)
    number = 0
    for views in (params.views, params.buffer_views):
        for node_views in views:
            for view in node_views.values():
                view[...] = np.arange(number, number + view.size).reshape(view.shape)
                number += view.size
    return params


def test_views_lie_in_the_flat_array() -> None:
    params = filled()
    for node_views in params.views:
        for view in node_views.values():
            assert np.shares_memory(view, params.flat)
            assert view.flags.c_contiguous
    params.flat.fill(5)
    assert all((view == 5).all() for node in params.views for view in node.values())
    for node_views in params.buffer_views:
        for view in node_views.values():
            assert np.shares_memory(view, params.flat_buffers)


def test_views_start_on_cache_lines_and_do_not_overlap() -> None:
    params = filled()
    start = params.flat.__array_interface__["data"][0]
    ends = 0
    for node_views in params.views:
        for view in node_views.values():
            offset = (view.__array_interface__["data"][0] - start) // view.itemsize
            assert offset % ALIGNMENT == 0
            assert offset >= ends
            ends = offset + view.size
    assert ends <= params.flat.size < ends + ALIGNMENT


def test_gaps_are_zero() -> None:
    params = filled()
    for node_views in params.views:
        for view in node_views.values():
            view[...] = 0
    assert not params.flat.any()


def test_count_leaves_out_gaps_and_buffers() -> None:
    assert filled().count == 3 * 2 * 5 * 4 + 4 + 4 + 21 + 3


def test_buffers_start_at_their_initial_values() -> None:
    params = Parameters(small_graph(), "float64")
    assert params.buffer_views[1]["running_mean"].tolist() == [0.0] * 4
    assert params.buffer_views[1]["running_var"].tolist() == [1.0] * 4
    assert params.flat_buffers.dtype == params.flat.dtype == np.float64


def test_names_and_layouts_are_torch() -> None:
    params = filled()
    named = params.named()
    assert {name: array.shape for name, array in named.items()} == {
        "stem/weight": (4, 5, 3, 2),
        "layers.1/weight": (4,),
        "layers.1/bias": (4,),
        "layers.2/weight": (3, 7),
        "layers.2/bias": (3,),
    }
    own = params.views[0]["weight"]
    assert named["stem/weight"][3, 2, 1, 0] == own[1, 0, 2, 3]
    assert np.shares_memory(named["stem/weight"], params.flat)
    assert list(params.named_buffers()) == ["layers.1/running_mean", "layers.1/running_var"]


def test_named_views_of_another_array() -> None:
    params = filled()
    flat, views = params.empty_like()
    assert flat.shape == params.flat.shape
    assert not flat.any()
    params.named(views)["layers.2/bias"][...] = 7
    assert views[2]["bias"].tolist() == [7, 7, 7]
    assert flat.sum() == 21


def test_a_copy_has_memory_of_its_own() -> None:
    params = filled()
    other = params.copy()
    assert (other.flat == params.flat).all()
    assert (other.flat_buffers == params.flat_buffers).all()
    other.flat.fill(0)
    other.flat_buffers.fill(0)
    assert params.views[2]["bias"].any()
    assert params.buffer_views[1]["running_var"].any()


def tensors(params: Parameters) -> dict[str, Array]:
    return {k: v.copy() for k, v in (params.named() | params.named_buffers()).items()}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_loading_gives_the_same_values(dtype: str) -> None:
    source = filled()
    target = Parameters(small_graph(), "float32")
    target.load({k: v.astype(dtype) for k, v in tensors(source).items()}, "a.npz")
    assert (target.flat == source.flat).all()
    assert (target.flat_buffers == source.flat_buffers).all()


def message(arrays: dict[str, Array]) -> str:
    params = filled()
    before = params.flat.copy()
    with pytest.raises(DataError) as caught:
        params.load(arrays, "a.npz")
    assert (params.flat == before).all()
    return caught.value.line()


def test_a_missing_name() -> None:
    arrays = tensors(filled())
    del arrays["layers.1/running_var"]
    assert message(arrays) == (
        "a.npz: tensors do not match the network. Got missing layers.1/running_var."
    )


def test_an_extra_name() -> None:
    arrays = tensors(filled()) | {"head/weight": np.zeros(1)}
    assert message(arrays) == "a.npz: tensors do not match the network. Got extra head/weight."


def test_a_wrong_shape() -> None:
    arrays = tensors(filled()) | {"layers.2/weight": np.zeros((7, 3))}
    assert message(arrays) == (
        "a.npz: tensors do not match the network."
        " Got misshapen layers.2/weight of shape (7, 3), not (3, 7)."
    )


def test_a_wrong_type() -> None:
    arrays = tensors(filled()) | {"layers.2/bias": np.zeros(3, np.int64)}
    assert message(arrays) == (
        "a.npz: tensors do not match the network."
        " Got not floating-point layers.2/bias of type int64."
    )


def test_everything_at_once() -> None:
    arrays = tensors(filled()) | {"layers.2/weight": np.zeros(3, np.int64), "x/y": np.zeros(1)}
    del arrays["stem/weight"]
    assert message(arrays) == (
        "a.npz: tensors do not match the network. Got missing stem/weight; extra x/y;"
        " misshapen layers.2/weight of shape (3,), not (3, 7);"
        " not floating-point layers.2/weight of type int64."
    )


def test_long_lists_are_cut() -> None:
    arrays = tensors(filled()) | {f"x{i}/weight": np.zeros(1) for i in range(8)}
    assert message(arrays) == (
        "a.npz: tensors do not match the network."
        " Got extra x0/weight, x1/weight, x2/weight, x3/weight, x4/weight and 3 more."
    )


def test_a_network_without_parameters() -> None:
    params = Parameters(stub_graph(relu=Stub()), "float32")
    assert params.count == params.flat.size == 0
    params.load({}, "a.npz")


def test_a_parameter_of_one_number() -> None:
    params = Parameters(stub_graph(a=Stub(ParamSpec("scale", (), "scale"))), "float32")
    assert params.count == 1
    assert params.named()["a/scale"].shape == ()
