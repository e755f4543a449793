"""Keras networks: structure, layouts, and biases moved into statistics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_networks import arrays_of, graph_of, random_parameters

from cnn_cli.errors import DataError, UsageError
from cnn_cli.interop.assemble import assemble
from cnn_cli.interop.foreign import Foreign
from cnn_cli.interop.match_structure import match_structure
from cnn_cli.interop.readers.arguments import READ, Only
from cnn_cli.interop.readers.keras_arguments import ARGUMENTS, COMMON
from cnn_cli.interop.reading import read_foreign
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.types import Array

# The network in this program's form ...
LAYERS: list[Any] = [
    {"conv": {"out_channels": 6, "kernel_size": 3, "stride": 2, "padding": "same", "bias": False}},
    "batchnorm",
    "relu",
    {"maxpool": {"kernel_size": 3, "stride": 2, "padding": 1}},
    {
        "residual": {
            "layers": [
                {"conv": {"out_channels": 6, "kernel_size": 3, "padding": 1, "groups": 6}},
                {"conv": {"out_channels": 8, "kernel_size": 1, "bias": False}},
                "batchnorm",
            ]
        }
    },
    "relu6",
    {"dropout": 0.5},
    "flatten",
    {"dropout": 0.5},
    {"linear": 5},
    "relu",
    {"linear": "classes"},
]


def layer(word: str, name: str, inputs: list[str], **config: Any) -> dict[str, Any]:
    nodes = [[[source, 0, 0, {}] for source in inputs]] if inputs else []
    config = {"name": name, **config}
    return {"class_name": word, "name": name, "config": config, "inbound_nodes": nodes}


def conv(name: str, source: str, size: int, stride: int, padding: str, **more: Any) -> Any:
    window = {"kernel_size": [size] * 2, "strides": [stride] * 2, "padding": padding}
    return layer("Conv2D", name, [source], **window, dilation_rate=[1, 1], **more)


# ... and in Keras' form: the shortcut first, in another order, with biases and another eps.
KERAS = [
    layer("InputLayer", "in", []),
    conv("stem", "in", 3, 2, "same"),
    layer("BatchNormalization", "stem_bn", ["stem"], epsilon=1e-3),
    layer("Activation", "act", ["stem_bn"], activation="relu"),
    layer("ZeroPadding2D", "pad", ["act"], padding=[[1, 1], [1, 1]]),
    layer("MaxPooling2D", "pool", ["pad"], pool_size=[3, 3], strides=[2, 2], padding="valid"),
    conv("side", "pool", 1, 1, "valid"),
    layer("BatchNormalization", "side_bn", ["side"], epsilon=1e-3),
    layer(
        "DepthwiseConv2D",
        "deep",
        ["pool"],
        kernel_size=[3, 3],
        strides=[1, 1],
        padding="same",
        dilation_rate=[1, 1],
    ),
    conv("wide", "deep", 1, 1, "valid"),
    layer("BatchNormalization", "wide_bn", ["wide"], epsilon=1e-3),
    layer("Add", "sum", ["side_bn", "wide_bn"]),
    layer("ReLU", "act2", ["sum"], max_value=6.0),
    layer("Flatten", "flat", ["act2"]),
    layer("Dropout", "drop", ["flat"], rate=0.5),
    layer("Dense", "hidden", ["drop"], activation="relu"),
    layer("Dense", "scores", ["hidden"], activation="softmax"),
]
NAMES = {
    "stem": "layers.0",
    "stem_bn": "layers.1",
    "deep": "layers.4.layers.0",
    "wide": "layers.4.layers.1",
    "wide_bn": "layers.4.layers.2",
    "side": "layers.4.shortcut.0",
    "side_bn": "layers.4.shortcut.1",
    "hidden": "layers.9",
    "scores": "layers.11",
}


def keras_arrays(arrays: dict[str, Array]) -> dict[str, dict[str, Array]]:
    """Convert our arrays to Keras' layouts, with biases and eps that the statistics compensate."""
    found: dict[str, dict[str, Array]] = {}
    for theirs, ours in NAMES.items():
        part = {
            key.split("/")[1]: array for key, array in arrays.items() if key.startswith(ours + "/")
        }
        if "running_mean" in part:
            found[theirs] = {
                "gamma": part["weight"],
                "beta": part["bias"],
                "moving_mean": part["running_mean"] + 0.25,
                "moving_variance": part["running_var"] + 1e-5 - 1e-3,
            }
        elif theirs == "deep":
            weight = part["weight"].transpose(2, 3, 0, 1)
            found[theirs] = {"depthwise_kernel": weight, "bias": part["bias"]}
        elif part["weight"].ndim == 4:
            channels = len(part["weight"])
            weight = part["weight"].transpose(2, 3, 1, 0)
            found[theirs] = {"kernel": weight, "bias": np.full(channels, 0.25)}
        else:
            weight = part["weight"]
            if theirs == "hidden":  # reads a map of 3×3×8, channels last
                weight = weight.reshape(5, 8, 3, 3).transpose(0, 2, 3, 1).reshape(5, -1)
            found[theirs] = {"kernel": weight.T, "bias": part["bias"]}
    return found


def write_json(folder: Path, layers: list[Any], arrays: dict[str, dict[str, Array]]) -> Path:
    """Write `model.json` and two shards."""
    named = {f"{name}/{key}": array for name, part in arrays.items() for key, array in part.items()}
    content = b"".join(np.asarray(array, "<f4").tobytes() for array in named.values())
    (folder / "shard1.bin").write_bytes(content[:1000])
    (folder / "shard2.bin").write_bytes(content[1000:])
    weights = [
        {"name": name, "shape": array.shape, "dtype": "float32"} for name, array in named.items()
    ]
    document = {
        "modelTopology": {"model_config": {"class_name": "Model", "config": {"layers": layers}}},
        "weightsManifest": [{"paths": ["shard1.bin", "shard2.bin"], "weights": weights}],
    }
    (folder / "model.json").write_text(json.dumps(document))
    return folder / "model.json"


def write_h5(folder: Path, layers: list[Any], arrays: dict[str, dict[str, Array]]) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "model.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"config": {"layers": layers}})
        for name, part in arrays.items():
            group = file.create_group(f"model_weights/{name}")
            group.attrs["weight_names"] = [f"{name}/{key}:0".encode() for key in part]
            for key, array in part.items():
                group.create_dataset(f"{name}/{key}:0", data=np.asarray(array, "f4"))
    return folder / "model.h5"


def imported(graph: Graph, foreign: Foreign) -> tuple[dict[str, Array], list[str]]:
    pairs, eps = match_structure(graph, foreign)
    return assemble(graph, foreign, pairs, eps)


@pytest.mark.parametrize("write", [write_json, write_h5])
def test_a_network_of_many_layers(tmp_path: Path, write: Any) -> None:
    graph = graph_of(LAYERS)
    params = random_parameters(graph)
    foreign = read_foreign(write(tmp_path, KERAS, keras_arrays(arrays_of(params))))
    found, notes = imported(graph, foreign)
    for name, array in arrays_of(params).items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-6, err_msg=name)
    assert notes == [
        "biases before batchnorm taken into running means: 3",
        "other eps taken into running variances: 3",
        "linear layers turned to channels first: 1",
    ]


def changed(name: str, **config: Any) -> list[Any]:
    return [
        {**each, "config": each["config"] | config} if each["name"] == name else each
        for each in KERAS
    ]


@pytest.mark.parametrize(
    ("layers", "got"),
    [
        (changed("stem", strides=[1, 1]), "stem with stride (1, 1), where layers.0 has (2, 2)"),
        (
            changed("stem", padding="valid"),
            "stem with padding above 0, where layers.0 has 1",
        ),
        (changed("act2", max_value=None), "act2 (relu) where layers.5 (relu6) should be"),
        (changed("hidden", activation="tanh"), "hidden (tanh) where layers.10 (relu) should be"),
        (
            changed("act", activation="selu"),
            "pool pads with zeros, which layers.3 (maxpool) does not",
        ),
    ],
)
def test_another_network(tmp_path: Path, layers: list[Any], got: str) -> None:
    graph = graph_of(LAYERS)
    arrays = keras_arrays(arrays_of(random_parameters(graph)))
    foreign = read_foreign(write_json(tmp_path, layers, arrays))
    with pytest.raises(DataError) as caught:
        imported(graph, foreign)
    line = caught.value.line()
    assert line == f"{tmp_path}/model.json: the network must be the config's. Got {got}."


def message(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_foreign(path)
    return caught.value.line().removeprefix(f"{path}: ")


def test_layers_and_activations_that_are_not_known(tmp_path: Path) -> None:
    layers = [*KERAS, layer("Lambda", "magic", ["scores"])]
    path = write_json(tmp_path, layers, {})
    assert message(path) == "layer magic is of an unknown kind. Got Lambda."
    path = write_json(tmp_path, changed("act", activation="hard_sigmoid"), {})
    rule = "the activation of act must not be that of Keras before 3, of a slope of 1/5"
    assert message(path) == f"{rule}. Got hard_sigmoid."
    path = write_json(tmp_path, changed("act", activation="mish"), {})
    assert message(path) == "the activation of act is not known. Got mish."
    path = write_json(tmp_path, changed("stem", data_format="channels_first"), {})
    rule = "data_format of stem (Conv2D) must be channels_last or None"
    assert message(path) == f"{rule}. Got channels_first."


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_description_that_an_editor_saved(tmp_path: Path, encoding: str) -> None:
    graph = graph_of(LAYERS)
    path = write_json(tmp_path, KERAS, keras_arrays(arrays_of(random_parameters(graph))))
    expected = read_foreign(path)
    path.write_text(path.read_text(), encoding=encoding)
    assert [op.name for op in read_foreign(path).ops or ()] == [
        op.name for op in expected.ops or ()
    ]


def test_broken_documents(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text("{")
    assert message(path) == "must be a JSON document."
    path.write_text("{}")
    assert message(path) == "must be a Keras network: modelTopology and weightsManifest."
    weights = [{"name": "a/kernel", "shape": [9], "dtype": "float32"}]
    manifest = [{"paths": ["a.bin"], "weights": weights}]
    path.write_text(json.dumps({"modelTopology": {}, "weightsManifest": manifest}))
    with pytest.raises(DataError, match=r"a\.bin: cannot be read\. Got no such file"):
        read_foreign(path)
    (tmp_path / "a.bin").write_bytes(bytes(35))
    rule = "must have a sound weightsManifest. Got shards that end too early."
    assert message(path) == rule
    manifest[0]["paths"] = ["../a.bin"]
    path.write_text(json.dumps({"modelTopology": {}, "weightsManifest": manifest}))
    assert message(path).startswith("shards must lie beside it. Got ")


def test_quantized_shards(tmp_path: Path) -> None:
    graph = graph_of(["flatten", {"linear": "classes"}], in_shape=(1, 1, 3))
    layers = [layer("InputLayer", "in", []), layer("Dense", "d", ["in"], activation="linear")]
    path = write_json(tmp_path, layers, {"d": {"kernel": np.ones((3, 4)), "bias": np.ones(4)}})
    document = json.loads(path.read_text())
    stored = {"dtype": "uint8", "scale": 0.5, "min": -1.0}
    document["weightsManifest"][0]["weights"][0]["quantization"] = stored
    path.write_text(json.dumps(document))
    numbers = np.arange(12, dtype=np.uint8)
    content = numbers.tobytes() + np.ones(4, "<f4").tobytes()
    (tmp_path / "shard1.bin").write_bytes(content)
    found, _ = imported(graph, read_foreign(path))
    expected = (numbers.reshape(3, 4) * 0.5 - 1).T
    np.testing.assert_array_equal(found["layers.1/weight"], expected)


def test_h5_without_its_network(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.ones(3))
    assert message(tmp_path / "a.h5").endswith(" beside. Got weights alone.")
    (tmp_path / "b.h5").write_bytes(b"no hdf5")
    assert message(tmp_path / "b.h5").startswith("must be a sound file of Keras. Got ")


def test_h5_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (tmp_path / "a.h5").write_bytes(b"")
    with pytest.raises(UsageError) as caught:
        read_foreign(tmp_path / "a.h5")
    rule = "needs h5py; install it with pip install 'cnn-cli[pretrained]'"
    assert caught.value.line() == f"{tmp_path}/a.h5: {rule}."


def third(word: str, name: str, inputs: list[str], *, together: bool = False, **config: Any) -> Any:
    """Return a layer in Keras 3's form; a merge layer reads its inputs `together`, as a list."""
    tensors = [
        {"class_name": "__keras_tensor__", "config": {"keras_history": [source, 0, 0]}}
        for source in inputs
    ]
    args: Any = [tensors] if together else tensors
    nodes = [{"args": args, "kwargs": {}}] if inputs else []
    config = {"name": name, **config}
    return {"class_name": word, "name": name, "config": config, "inbound_nodes": nodes}


def test_keras_3(tmp_path: Path) -> None:
    layers = [
        third("InputLayer", "in", [], batch_shape=[None, 3, 3, 4]),
        third("LeakyReLU", "one", ["in"], negative_slope=0.25),
        third("ReLU", "two", ["in"], negative_slope=0.5, max_value=None, threshold=0.0),
        third("Add", "sum", ["one", "two"], together=True),
        third("GlobalAveragePooling2D", "pool", ["sum"], keepdims=False),
    ]
    ops = read_foreign(write_json(tmp_path, layers, {})).ops
    assert ops is not None
    assert [(op.kind, dict(op.facts), op.inputs) for op in ops] == [
        ("leaky_relu", {"negative_slope": 0.25}, (-1,)),
        ("leaky_relu", {"negative_slope": 0.5}, (-1,)),
        ("add", {}, (0, 1)),
        ("global_avgpool", {}, (2,)),
    ]


# A layer of each kind, and for each argument that is read another value, which changes the network
# or is refused.
WINDOW = {"padding": "valid", "strides": [2, 2]}
OTHER_WINDOW = {"padding": "same", "strides": [1, 1]}
KERNEL = {**WINDOW, "kernel_size": [3, 3], "dilation_rate": [1, 1], "activation": "linear"}
OTHER_KERNEL = {
    **OTHER_WINDOW,
    "kernel_size": [5, 5],
    "dilation_rate": [2, 2],
    "activation": "relu",
}
READ_VALUES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Conv2D": ({**KERNEL, "groups": 1}, {**OTHER_KERNEL, "groups": 2}),
    "DepthwiseConv2D": (KERNEL, OTHER_KERNEL),
    "SeparableConv2D": (
        {**KERNEL, "filters": 4, "depth_multiplier": 1},
        {**OTHER_KERNEL, "filters": 4, "depth_multiplier": 1},
    ),
    "BatchNormalization": ({"epsilon": 1e-3}, {"epsilon": 1e-5}),
    "LayerNormalization": ({"epsilon": 1e-3}, {"epsilon": 1e-5}),
    "GroupNormalization": ({"epsilon": 1e-3, "groups": 2}, {"epsilon": 1e-5, "groups": 4}),
    "Rescaling": ({"scale": 2.0, "offset": 1.0}, {"scale": [1.0, 2.0, 3.0], "offset": 2.0}),
    "Normalization": (
        {"mean": [1.0, 2.0], "variance": [1.0, 4.0]},
        {"mean": 2.0, "variance": [2.0, 2.0]},
    ),
    "UpSampling2D": ({"size": [2, 2]}, {"size": [2, 3]}),
    "CustomScaleLayer": ({"scale": 0.5}, {"scale": 0.25}),
    "Dense": ({"activation": "linear"}, {"activation": "tanh"}),
    "MaxPooling2D": ({**WINDOW, "pool_size": [2, 2]}, {**OTHER_WINDOW, "pool_size": [3, 3]}),
    "AveragePooling2D": ({**WINDOW, "pool_size": [2, 2]}, {**OTHER_WINDOW, "pool_size": [3, 3]}),
    "ZeroPadding2D": ({"padding": [[1, 1], [1, 1]]}, {"padding": [[0, 1], [1, 1]]}),
    "Cropping2D": ({"cropping": [[1, 0], [0, 0]]}, {"cropping": [[0, 1], [0, 0]]}),
    "Activation": ({"activation": "relu"}, {"activation": "gelu"}),
    "ReLU": (
        {"max_value": None, "negative_slope": 0.0},
        {"max_value": 6, "negative_slope": 0.1},
    ),
    "LeakyReLU": ({}, {"negative_slope": 0.1, "alpha": 0.2}),
    "ELU": ({"alpha": 1.0}, {"alpha": 0.5}),
    "Reshape": ({"target_shape": [4]}, {"target_shape": [2, 2, 1]}),
}
# Determined by the arrays' shapes.
SHAPES = {"name", "filters", "units", "use_bias", "depth_multiplier", "center", "scale"}
SHAPES |= {"shared_axes"}


def read_as(tmp_path: Path, word: str, config: dict[str, Any]) -> Any:
    """Return what a layer is converted to, or the error."""
    merges = ("Add", "Average", "Multiply", "Concatenate", "CustomScaleLayer")
    names = ["in", "in"] if word in merges else ["in"]
    arrays = {"it": {"gamma": np.ones(3)}} if word == "LayerScale" else {}
    layers = [layer("InputLayer", "in", []), layer(word, "it", names, **config)]
    try:
        foreign = read_foreign(write_json(tmp_path, layers, arrays))
    except DataError as error:
        return error.line().partition(": ")[2]
    found = foreign.normalization
    first = [] if found is None else [found.scale.tolist(), found.shift.tolist()]
    arrays_of = [op.module.arrays if op.module else {} for op in foreign.ops or ()]
    kept = [{key: each.tolist() for key, each in arrays.items()} for arrays in arrays_of]
    return [*first, *kept, *((op.kind, op.facts) for op in foreign.ops or ())]


@pytest.mark.parametrize("word", ARGUMENTS)
def test_every_argument_is_honored_or_refused(tmp_path: Path, word: str) -> None:
    plain, others = READ_VALUES.get(word, ({}, {}))
    expected = read_as(tmp_path, word, plain)
    assert isinstance(expected, list)
    for key, rule in {**COMMON, **ARGUMENTS[word]}.items():
        if isinstance(rule, Only):
            assert read_as(tmp_path, word, plain | {key: rule.values[0]}) == expected
            found = read_as(tmp_path, word, plain | {key: "else"})
            assert found.startswith(f"{key} of it ({word}) must be "), key
            assert found.endswith(" Got else."), key
        elif rule is READ and key not in SHAPES:
            assert read_as(tmp_path, word, plain | {key: others[key]}) != expected, key
    found = read_as(tmp_path, word, plain | {"of_a_later_version": 1})
    assert found == f"it ({word}) has an argument that is not known. Got of_a_later_version."
