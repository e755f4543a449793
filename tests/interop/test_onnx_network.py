"""ONNX networks without a config: derived, and compared with onnxruntime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_program import Inside, call_inside
from networks import CASES
from test_onnx_export import classifier_of, pixels

from cnn_cli.config import plain_config
from cnn_cli.errors import DataError
from cnn_cli.inference.classifier import Classifier
from cnn_cli.interop import onnx_agreement
from cnn_cli.interop.export.onnx_export import to_onnx
from cnn_cli.interop.importing import ImportOptions, ImportReport, import_weights
from cnn_cli.interop.readers.arguments import READ, Only
from cnn_cli.interop.readers.onnx_arguments import ARGUMENTS
from cnn_cli.interop.readers.onnx_constants import FOLDED
from cnn_cli.nn.types import Array

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

FLOAT = onnx.TensorProto.FLOAT
OPTIONS = ImportOptions(mean=(0.0,), std=(1.0,))
AGREE = "scores of random images agree with onnxruntime's to "


@pytest.fixture
def cnn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    return call_inside(monkeypatch, capsys)


def imported(path: Path, **options: Any) -> tuple[Classifier, ImportReport]:
    output = path.with_suffix(".npz")
    given = ImportOptions(**options) if options else OPTIONS
    report = import_weights(path, None, [], output, given)
    assert report.notes[-1].startswith(AGREE)
    return Classifier.load(output), report


def layers_of(classifier: Classifier) -> Any:
    return plain_config(classifier.config)["model"]["layers"]


def kinds_of(classifier: Classifier) -> list[str]:
    return [next(iter(layer)) for layer in layers_of(classifier)]


def scores(classifier: Classifier, images: Array) -> Array:
    with classifier.engine(1) as engine:
        return engine.predict(images).copy()


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_what_export_writes(tmp_path: Path, name: str, fold: bool) -> None:
    """With preprocessing, classes, mean and std come along."""
    case = CASES[name]
    classifier = classifier_of(case.layers, case.in_shape, case.classes)
    path = tmp_path / "net.onnx"
    path.write_bytes(to_onnx(classifier, preprocessing=True, fold=fold))
    found, report = imported(path, value_range=None)
    assert found.classes == classifier.classes
    np.testing.assert_allclose(found.normalization.mean, classifier.normalization.mean, atol=1e-6)
    np.testing.assert_allclose(found.normalization.std, classifier.normalization.std, atol=1e-6)
    x = pixels(classifier, 3)
    expected = scores(classifier, x)
    largest = np.abs(expected).max()
    np.testing.assert_allclose(scores(found, x), expected, rtol=0, atol=1e-4 * largest)
    assert report.classes == case.classes


def model(
    nodes: list[Any],
    constants: dict[str, Array],
    shape: tuple[int | str, ...] = ("n", 3, 6, 6),
    opset: int = 20,
    outputs: tuple[str, ...] = ("y",),
) -> Any:
    helper = onnx.helper
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, list(shape))],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def write(path: Path, *given: Any, **more: Any) -> Path:
    path.write_bytes(model(*given, **more).SerializeToString())
    return path


def node(word: str, inputs: str, output: str, **attributes: Any) -> Any:
    names = [name if name != "-" else "" for name in inputs.split()]
    name = f"{word.lower()}_{output.split(maxsplit=1)[0]}"
    return onnx.helper.make_node(word, names, output.split(), name=name, **attributes)


RNG = np.random.default_rng(0)
STEM = {"w": RNG.normal(size=(8, 3, 3, 3)).astype("f4"), "b": RNG.normal(size=8).astype("f4")}
HEAD = {"v": RNG.normal(size=(5, 8)).astype("f4")}


def around(middle: list[Any], constants: dict[str, Any], **more: Any) -> tuple[Any, Any]:
    """A network whose middle, from `a` to `z`, is of 8 channels."""
    nodes = [
        node("Conv", "x w b", "a", pads=[1, 1, 1, 1]),
        *middle,
        node("GlobalAveragePool", "z", "pooled"),
        node("Flatten", "pooled", "flat"),
        node("Gemm", "flat v", "y", transB=1),
    ]
    arrays = {key: np.asarray(value) for key, value in constants.items()}
    return nodes, {**STEM, **HEAD, **arrays}


def constant(value: Any, kind: str = "f4") -> Array:
    return np.array(value, kind)


# Middles, and what a config has of them.
MIDDLES: dict[str, tuple[list[Any], dict[str, Any], list[str]]] = {
    "hard-swish as four": (
        [
            node("Add", "a three", "p"),
            node("Clip", "p zero six", "q"),
            node("Mul", "a q", "r"),
            node("Div", "r six", "z"),
        ],
        {"three": constant(3), "zero": constant(0), "six": constant(6)},
        ["hardswish"],
    ),
    "hard-swish, divided first": (
        [
            node("Add", "a three", "p"),
            node("Clip", "p zero six", "q"),
            node("Div", "q six", "r"),
            node("Mul", "r a", "z"),
        ],
        {"three": constant(3), "zero": constant(0), "six": constant(6)},
        ["hardswish"],
    ),
    "gelu by erf": (
        [
            node("Div", "a root", "p"),
            node("Erf", "p", "q"),
            node("Add", "q one", "r"),
            node("Mul", "a r", "s"),
            node("Mul", "s half", "z"),
        ],
        {"root": constant(2**0.5), "one": constant(1), "half": constant(0.5)},
        ["gelu"],
    ),
    "silu": ([node("Sigmoid", "a", "p"), node("Mul", "p a", "z")], {}, ["silu"]),
    "a scale a channel": (
        [node("Mul", "a s", "z")],
        {"s": np.linspace(0.5, 2, 8, dtype="f4").reshape(8, 1, 1)},
        ["layer_scale"],
    ),
    "a scale and a shift a channel": (
        [node("Relu", "a", "p"), node("Mul", "p s", "q"), node("Sub", "q s", "z")],
        {"s": np.linspace(0.5, 2, 8, dtype="f4").reshape(1, 8, 1, 1)},
        ["relu", "batchnorm"],
    ),
    "a bias of its own": (
        [node("Add", "s a", "z")],
        {"s": np.linspace(0.5, 2, 8, dtype="f4").reshape(8, 1, 1)},
        [],
    ),
    "a sum of three": (
        [node("Relu", "a", "p"), node("Tanh", "a", "q"), node("Sum", "a p q", "z")],
        {},
        ["residual"],
    ),
    "a concatenation of one": ([node("Concat", "a", "z", axis=1)], {}, []),
    "padding before a convolution": (
        [node("Pad", "a p", "q"), node("Conv", "q k", "z", strides=[2, 2])],
        {"p": constant([0, 0, 1, 1, 0, 0, 1, 1], "i8"), "k": RNG.normal(size=(8, 8, 3, 3))},
        ["conv"],
    ),
    "padding before a pool": (
        [
            node("Relu", "a", "r"),
            node("Pad", "r p", "q"),
            node("MaxPool", "q", "z", kernel_shape=[3, 3], strides=[2, 2]),
        ],
        {"p": constant([0, 0, 1, 1, 0, 0, 1, 1], "i8")},
        ["relu", "maxpool"],
    ),
    "shapes that are computed": (
        [
            node("Shape", "a", "s"),
            node("Gather", "s zero", "n"),
            node("Unsqueeze", "n first", "nn"),
            node("Concat", "nn rest", "to", axis=0),
            node("Reshape", "a to", "cut"),
            node("Transpose", "cut", "dealt", perm=[0, 2, 1, 3, 4]),
            node("Reshape", "dealt s", "z"),
        ],
        {
            "zero": constant(0, "i8"),
            "first": constant([0], "i8"),
            "rest": constant([2, 4, 6, 6], "i8"),
        },
        ["channel_shuffle"],
    ),
    "a slice of all": (
        [node("Slice", "a from to", "z")],
        {"from": constant([0, 0, 0, 0], "i8"), "to": constant([99, 99, 99, 99], "i8")},
        [],
    ),
    "halves": (
        [
            node("Split", "a", "p q", axis=1, num_outputs=2),
            node("Relu", "p", "r"),
            node("Concat", "r q", "z", axis=1),
        ],
        {},
        ["split"],
    ),
    "channels last": (
        [
            node("Transpose", "a", "p", perm=[0, 2, 3, 1]),
            node("LayerNormalization", "p g h", "q", epsilon=1e-6),
            node("MatMul", "q m", "r"),
            node("Add", "r h", "s"),
            node("Transpose", "s", "z", perm=[0, 3, 1, 2]),
        ],
        {
            "g": np.linspace(0.5, 2, 8, dtype="f4"),
            "h": np.linspace(-1, 2, 8, dtype="f4"),
            "m": RNG.normal(size=(8, 8)),
        },
        ["layernorm", "conv"],
    ),
    "a gate": (
        [
            node("GlobalAveragePool", "a", "p"),
            node("Conv", "p k l", "q"),
            node("Relu", "q", "r"),
            node("Conv", "r m", "s"),
            node("Sigmoid", "s", "t"),
            node("Mul", "a t", "z"),
        ],
        {
            "k": RNG.normal(size=(2, 8, 1, 1)),
            "l": RNG.normal(size=2),
            "m": RNG.normal(size=(8, 2, 1, 1)),
        },
        ["squeeze_excite"],
    ),
    "another gate": (
        [
            node("GlobalAveragePool", "a", "p"),
            node("Conv", "p m", "s"),
            node("Sigmoid", "s", "t"),
            node("Mul", "a t", "z"),
        ],
        {"m": RNG.normal(size=(8, 8, 1, 1))},
        ["branches"],
    ),
    "a concatenation, flat": (
        [
            node("Conv", "a k", "p"),
            node("Concat", "a p", "q", axis=1),
            node("Conv", "q l", "r"),
            node("Concat", "a p r", "s", axis=1),
            node("Conv", "s m", "z"),
        ],
        {
            "k": RNG.normal(size=(2, 8, 1, 1)),
            "l": RNG.normal(size=(3, 10, 1, 1)),
            "m": RNG.normal(size=(8, 13, 1, 1)),
        },
        ["branches", "branches", "conv"],
    ),
    "two of three of one stem": (
        [
            node("Conv", "a k", "p"),
            node("Relu", "p", "q"),
            node("Tanh", "p", "r"),
            node("Concat", "a q r", "s", axis=1),
            node("Conv", "s m", "z"),
        ],
        {"k": RNG.normal(size=(2, 8, 1, 1)), "m": RNG.normal(size=(8, 12, 1, 1))},
        ["branches", "conv"],
    ),
    "TensorFlow's padding": (
        [
            node("Conv", "a k", "p", auto_pad="SAME_UPPER", strides=[2, 2]),
            node("Relu", "p", "q"),
            node("MaxPool", "q", "z", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
        ],
        {"k": RNG.normal(size=(8, 8, 3, 3))},
        ["conv", "relu", "maxpool"],
    ),
    "a border that is mirrored": (
        [node("Pad", "a p", "q", mode="reflect"), node("Conv", "q k", "z")],
        {"p": constant([0, 0, 1, 2, 0, 0, 1, 0], "i8"), "k": RNG.normal(size=(8, 8, 3, 3))},
        ["conv"],
    ),
    "a border that is mirrored, before a pool": (
        [
            node("Pad", "a p", "q", mode="reflect"),
            node("AveragePool", "q", "z", kernel_shape=[3, 3]),
        ],
        {"p": constant([0, 0, 1, 1, 0, 0, 1, 1], "i8")},
        ["pad", "avgpool"],
    ),
    "neighbors": (
        [node("LRN", "a", "z", size=3, alpha=0.5, bias=2.0)],
        {},
        ["lrn"],
    ),
    "blocks": (
        [node("Resize", "a - s", "z", mode="nearest")],
        {"s": constant([1, 1, 2, 3])},
        ["upsample"],
    ),
    "blocks by their size": (
        [
            node("Shape", "a", "s"),
            node("Slice", "s zero two", "first"),
            node("Concat", "first sizes", "to", axis=0),
            node(
                "Resize",
                "a - - to",
                "z",
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            ),
        ],
        {
            "zero": constant([0], "i8"),
            "two": constant([2], "i8"),
            "sizes": constant([12, 24], "i8"),
        },
        ["upsample"],
    ),
    "attention over channels": (
        [
            node("ReduceMean", "a axes", "p", keepdims=0),
            node("Reshape", "p row", "q"),
            node("Conv", "q k", "r", pads=[1, 1]),
            node("Sigmoid", "r", "s"),
            node("Reshape", "s back", "t"),
            node("Shape", "a", "shape"),
            node("Expand", "t shape", "u"),
            node("Mul", "a u", "z"),
        ],
        {
            "axes": constant([2, 3], "i8"),
            "row": constant([0, 1, -1], "i8"),
            "back": constant([0, -1, 1, 1], "i8"),
            "k": RNG.normal(size=(1, 1, 3)),
        },
        ["eca"],
    ),
    "what several read": (
        [
            node("Relu", "a", "p"),
            node("Tanh", "p", "q"),
            node("Conv", "q k", "r"),
            node("Add", "p r", "s"),
            node("Mul", "s q", "t"),
            node("Concat", "r t p", "u", axis=1),
            node("Conv", "u m", "z"),
        ],
        {"k": RNG.normal(size=(8, 8, 1, 1)), "m": RNG.normal(size=(8, 24, 1, 1))},
        ["relu", "tanh", "conv", "branches", "branches", "branches", "conv"],
    ),
    "a stream beside another one": (
        [
            node("Conv", "a k", "p", strides=[2, 2]),
            node("Resize", "p - s", "q", mode="nearest"),
            node("Conv", "a l", "r"),
            node("Add", "q r", "t"),
            node("Conv", "r k", "u", strides=[2, 2]),
            node("Add", "u p", "sum"),
            node("Resize", "sum - s", "w2", mode="nearest"),
            node("Concat", "t w2", "z2", axis=1),
            node("Conv", "z2 m", "z"),
        ],
        {
            "k": RNG.normal(size=(8, 8, 1, 1)),
            "l": RNG.normal(size=(8, 8, 1, 1)),
            "m": RNG.normal(size=(8, 16, 1, 1)),
            "s": constant([1, 1, 2, 2]),
        },
        [
            *("conv", "upsample", "from", "conv", "branches", "from", "conv", "branches"),
            *("upsample", "branches", "conv"),
        ],
    ),
    "weights through an identity": (
        [node("Identity", "k", "kk"), node("Conv", "a kk", "z")],
        {"k": RNG.normal(size=(8, 8, 1, 1))},
        ["conv"],
    ),
}


@pytest.mark.parametrize("name", MIDDLES)
def test_what_exporters_take_apart(tmp_path: Path, name: str) -> None:
    middle, constants, kinds = MIDDLES[name]
    arrays = {
        key: np.asarray(value, "f4") if np.asarray(value).dtype == "f8" else value
        for key, value in constants.items()
    }
    found, _ = imported(write(tmp_path / "a.onnx", *around(middle, arrays)))
    assert kinds_of(found) == ["conv", *kinds, "global_avgpool", "linear"]


@pytest.mark.parametrize(
    ("middle", "constants", "got"),
    [
        ([node("Mish", "a", "z")], {}, "operator mish_z is of an unknown kind. Got Mish."),
        (
            [node("Gelu", "a", "z", approximate="tanh")],
            {},
            "approximate of gelu_z (Gelu) must be none. Got tanh.",
        ),
        (
            [
                node("Relu", "a", "p"),
                node("Split", "p", "q r", axis=1, num_outputs=2),
                node("Mul", "q r", "s"),
                node("Concat", "s s", "z", axis=1),
            ],
            {},
            None,
        ),
        (
            [node("Resize", "a - s", "z", mode="nearest")],
            {"s": constant([1, 1, 1.5, 2])},
            "operator resize_z (Resize) must make rows and columns whole times as many. "
            "Got (1.0, 1.0, 1.5, 2.0).",
        ),
        (
            [
                node(
                    "Resize",
                    "a - s",
                    "z",
                    mode="nearest",
                    coordinate_transformation_mode="align_corners",
                )
            ],
            {"s": constant([1, 1, 3, 2])},
            "operator resize_z (Resize) must repeat each row and column. "
            "Got align_corners, round_prefer_floor.",
        ),
        (
            [
                node("Split", "a", "p q", axis=1, num_outputs=2),
                node("Conv", "p k", "r"),
                node("Add", "r q", "s"),
                node("Concat", "r s", "t", axis=1),
                node("Mul", "t a", "z"),
            ],
            {"k": RNG.normal(size=(4, 4, 1, 1)).astype("f4")},
            "operator split_p (part) must take one of equal parts of all channels that are joined "
            "again, for split.",
        ),
        (
            [node("Pow", "a two", "z")],
            {"two": constant(2)},
            "operator pow_z (power) is no layer that a config can express.",
        ),
        (
            [node("Relu", "a", "p"), node("Div", "a p", "z")],
            {},
            "operator div_z (quotient) is no layer that a config can express.",
        ),
        (
            [
                node("GlobalAveragePool", "a", "p"),
                node("Reshape", "p row", "q"),
                node("Conv", "q k", "r", pads=[1, 1]),
                node("Reshape", "r back", "s"),
                node("Add", "a s", "z"),
            ],
            {
                "row": constant([0, 1, -1], "i8"),
                "back": constant([0, -1, 1, 1], "i8"),
                "k": RNG.normal(size=(1, 1, 3)).astype("f4"),
            },
            None,
        ),
        (
            [
                node("GlobalAveragePool", "a", "p"),
                node("Shape", "a", "shape"),
                node("Expand", "p shape", "q"),
                node("Relu", "q", "z"),
            ],
            {},
            "operator relu_z (Relu) must not read what is repeated, apart from a product. Got q.",
        ),
        (
            [node("Clip", "a low", "z")],
            {"low": constant(-1)},
            "operator clip_z (clip) is no layer that a config can express.",
        ),
        (
            [node("Add", "a s", "z")],
            {"s": RNG.normal(size=(6, 6)).astype("f4")},
            "operator add_z (Add) must have one number, or one a channel. Got others.",
        ),
        (
            [node("Reshape", "a to", "p"), node("Reshape", "p back", "z")],
            {"to": constant([0, 8, 12, 3], "i8"), "back": constant([0, 8, 6, 6], "i8")},
            "operator reshape_p (Reshape) must be a layer of an image. Got x cannot be cut in 2.",
        ),
    ],
)
def test_what_cannot_be_expressed(
    tmp_path: Path, middle: Any, constants: Any, got: str | None
) -> None:
    path = write(tmp_path / "a.onnx", *around(middle, constants))
    with pytest.raises(DataError) as caught:
        imported(path)
    if got is not None:
        assert caught.value.line() == f"{path}: {got}"
    assert not path.with_suffix(".npz").exists()


def test_another_network_than_onnxruntimes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.onnx", *around([node("Relu", "a", "z")], {}))
    monkeypatch.setattr(onnx_agreement, "LIMIT", 0.0)
    monkeypatch.setattr(onnx_agreement, "MOST_TIMES", 0)
    with pytest.raises(DataError, match="must give onnxruntime's scores to 0 of the largest"):
        imported(path)
    assert not path.with_suffix(".npz").exists()
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    report = import_weights(path, None, [], tmp_path / "a.npz", OPTIONS)
    note = "not compared with onnxruntime, which is not installed: pip install 'cnn-cli[onnx]'"
    assert report.notes[-1] == note


def test_normalization_in_the_network(tmp_path: Path) -> None:
    """Pixels of 0 to 255, which the network takes to its own numbers first."""
    nodes, constants = around([node("Relu", "a", "z")], {})
    nodes[0].input[0] = "n"
    nodes = [node("Mul", "x scale", "m"), node("Sub", "m mean", "n"), *nodes]
    constants |= {"scale": constant(1 / 127.5), "mean": constant([[[0.5]], [[1.0]], [[1.5]]])}
    found, _ = imported(write(tmp_path / "a.onnx", nodes, constants), value_range=None)
    assert kinds_of(found)[0] == "conv"
    np.testing.assert_allclose(found.normalization.mean, [0.25, 0.5, 0.75], rtol=1e-6)
    np.testing.assert_allclose(found.normalization.std, [0.5] * 3, rtol=1e-6)


def test_the_command(cnn: Inside, tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", *around([node("Relu", "a", "z")], {}))
    out = tmp_path / "a.npz"
    line = ("import", path, "--output", out)
    outcome = cnn(*line)
    rule = "must be what the weights were trained with; give --mean. Got auto."
    assert (outcome.code, outcome.err) == (3, f"cnn: {path}: data.mean: {rule}\n")
    outcome = cnn(*line, "--mean", "0.5", "--std", "0.25")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("matched     2 layers by the file's own network\n")
    names = tmp_path / "names"
    names.write_text("a\nb\n")
    outcome = cnn(*line, "--mean", "0.5", "--std", "0.25", "--classes", names)
    rule = "must be 5 names, as the file has scores. Got 2."
    assert (outcome.code, outcome.err) == (4, f"cnn: {names}: {rule}\n")
    outcome = cnn("import", path, "--mean", 0, "--std", 1, "--json", "--output", out)
    assert json.loads(outcome.out)["pairs"] == {"layers.0": "conv_a", "layers.3": "gemm_y"}


def test_a_size_that_the_file_leaves_open(cnn: Inside, tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.onnx", *around([node("Relu", "a", "z")], {}), shape=("n", 3, "h", "w")
    )
    line = ("import", path, "--output", tmp_path / "a.npz", "--mean", 0, "--std", 1)
    outcome = cnn(*line)
    rule = "the input x must have a size; give data.image_size. Got 3×?×?."
    assert (outcome.code, outcome.err) == (4, f"cnn: {path}: {rule}\n")
    assert cnn(*line, "data.image_size=7").code == 0
    assert Classifier.load(tmp_path / "a.npz").graph.in_shape == (7, 7, 3)


def test_several_inputs_or_outputs(tmp_path: Path) -> None:
    nodes, constants = around([node("Relu", "a", "z")], {})
    path = write(tmp_path / "a.onnx", nodes, constants, outputs=("y", "flat"))
    with pytest.raises(DataError, match=r"must have one output\. Got 2: y, flat\."):
        imported(path)


@pytest.mark.parametrize(
    ("operator", "constants", "count"),
    [
        ("Gather", {"p": np.ones((1, 100_000), "f4"), "q": np.zeros(100_000, "i8")}, 10**10),
        ("ConstantOfShape", {"p": np.array([100_000, 100_000])}, 10**10),
        ("Concat", {"p": np.ones(100_000, "f4"), "q": np.ones(100_000, "f4")}, 200_000),
    ],
)
def test_constants_that_would_take_memory(
    tmp_path: Path, operator: str, constants: dict[str, Array], count: int
) -> None:
    attributes = {"axis": 0} if operator != "ConstantOfShape" else {}
    many = node(operator, " ".join(constants), "many", **attributes)
    path = write(tmp_path / "a.onnx", *around([many, node("Add", "a many", "z")], constants))
    rule = f"operator {operator.lower()}_many ({operator}) must not make so many numbers"
    assert refusal(path) == f"{rule}. Got {count:,}."


# Values of the attributes that are read, beside the operators' other inputs.
CONV = {"k": RNG.normal(size=(8, 4, 3, 3)).astype("f4")}
POOL = {"kernel_shape": [2, 2]}
VALUES: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, list[Any]]]] = {
    "AveragePool": (
        "a",
        {},
        POOL,
        {
            "auto_pad": ["SAME_UPPER", "SAME_LOWER", "VALID"],
            "ceil_mode": [1],
            "count_include_pad": [0, 1],
            "dilations": [[2, 2]],
            "kernel_shape": [[3, 2]],
            "pads": [[1, 1, 1, 1], [0, 1, 1, 0]],
            "strides": [[2, 1], [4, 4]],
        },
    ),
    "MaxPool": (
        "a",
        {},
        POOL,
        {
            "auto_pad": ["SAME_UPPER", "SAME_LOWER", "VALID"],
            "ceil_mode": [1],
            "dilations": [[2, 2]],
            "kernel_shape": [[3, 2]],
            "pads": [[1, 1, 1, 1], [0, 1, 1, 0]],
            "strides": [[2, 1], [4, 4]],
        },
    ),
    "Conv": (
        "a k",
        CONV,
        {"group": 2},
        {
            "auto_pad": ["SAME_UPPER", "SAME_LOWER", "VALID"],
            "dilations": [[2, 2]],
            "group": [1, 2],
            "kernel_shape": [[3, 3], [2, 2]],
            "pads": [[1, 2, 1, 2], [0, 1, 1, 0]],
            "strides": [[2, 1]],
        },
    ),
    "BatchNormalization": (
        "a s s s s",
        {"s": np.linspace(0.5, 2, 8, dtype="f4")},
        {},
        {"epsilon": [0.1]},
    ),
    "Clip": ("a low high", {"low": constant(0), "high": constant(6)}, {}, {}),
    "Concat": ("a a", {}, {}, {"axis": [1, 2, -3]}),
    "Elu": ("a", {}, {}, {"alpha": [0.5]}),
    "Flatten": ("a", {}, {}, {"axis": [1, 2]}),
    "GroupNormalization": (
        "a s s",
        {"s": np.linspace(0.5, 2, 4, dtype="f4")},
        {"num_groups": 4},
        {"epsilon": [0.1], "num_groups": [2, 3]},
    ),
    "InstanceNormalization": (
        "a s s",
        {"s": np.linspace(0.5, 2, 8, dtype="f4")},
        {},
        {"epsilon": [0.1]},
    ),
    "HardSigmoid": ("a", {}, {"alpha": 1 / 6}, {"alpha": [0.2], "beta": [0.4]}),
    "LRN": (
        "a",
        {},
        {"size": 3},
        {"alpha": [0.5], "beta": [0.5], "bias": [2.0], "size": [5, 4]},
    ),
    "Resize": (
        "a - s",
        {"s": constant([1, 1, 2, 3])},
        {"mode": "nearest"},
        {
            "coordinate_transformation_mode": [
                *("asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners"),
                *("half_pixel_symmetric", "tf_crop_and_resize"),
            ],
            "nearest_mode": ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"],
        },
    ),
    "Pow": ("a two", {"two": constant(2)}, {}, {}),
    "LayerNormalization": (
        "a g",
        {"g": np.linspace(0.5, 2, 6, dtype="f4")},
        {},
        {"axis": [-1, 1], "epsilon": [0.1]},
    ),
    "LeakyRelu": ("a", {}, {}, {"alpha": [0.3]}),
    "ReduceMean": (
        "a axes",
        {"axes": constant([2, 3], "i8")},
        {},
        {"keepdims": [1], "noop_with_empty_axes": [1]},
    ),
    "Reshape": ("a to", {"to": constant([0, 8, 6, 6], "i8")}, {}, {"allowzero": [1]}),
    "Softmax": ("a", {}, {}, {"axis": [1]}),
    "Split": ("a", {}, {"num_outputs": 1}, {"axis": [1, 2]}),
    "Transpose": ("a", {}, {}, {"perm": [[0, 1, 2, 3], [0, 1, 3, 2]]}),
}
# Read of constants alone, by a test above, or in files of older operators.
ELSEWHERE = {
    ("Gemm", "alpha"),
    ("Gemm", "beta"),
    ("Gemm", "transB"),
    ("Cast", "to"),
    ("Gather", "axis"),
    ("Shape", "start"),
    ("Shape", "end"),
    ("ConstantOfShape", "value"),
    *(("Constant", key) for key in ARGUMENTS["Constant"]),
    *(("Clip", key) for key in ("min", "max")),
    *((word, "axes") for word in ("ReduceMean", "Slice", "Squeeze", "Unsqueeze")),
    *(("Slice", key) for key in ("starts", "ends")),
    *(("Pad", key) for key in ("pads", "paddings")),
    ("Split", "split"),
    ("Resize", "axes"),
    ("Upsample", "scales"),
    ("Reshape", "shape"),
}


def refusal(path: Path) -> str:
    """What is said of a file, without its name; nothing where it is imported."""
    try:
        imported(path)
    except DataError as error:
        return error.line().removeprefix(f"{path}: ")
    return ""


@pytest.mark.parametrize("word", ARGUMENTS)
def test_every_attribute_is_honoured_or_refused(tmp_path: Path, word: str) -> None:
    """Honoured: onnxruntime gives the same scores, which `import_weights` looks after."""
    inputs, constants, plain, values = VALUES.get(word, ("a", {}, {}, {}))
    cases: list[dict[str, Any]] = []
    for key, rule in ARGUMENTS[word].items():
        if rule is READ and key not in values:
            assert (word, key) in ELSEWHERE, key
        cases += [plain | {key: value} for value in values.get(key, ())]
        if isinstance(rule, Only):
            wrong = 7 if all(isinstance(each, int | float) for each in rule.values) else "else"
            path = tmp_path / f"{key}.onnx"
            operator = node(word, inputs, "z", **{**plain, key: wrong})
            write(path, *around([operator], constants))
            with pytest.raises(DataError) as caught:
                imported(path)
            assert caught.value.line().startswith(
                f"{path}: {key} of {word.lower()}_z ({word}) must"
            )
    for i, attributes in enumerate(cases):
        path = tmp_path / f"{i}.onnx"
        write(path, *around([node(word, inputs, "z", **attributes)], constants))
        assert "onnxruntime's scores" not in refusal(path), attributes
    known = set(ARGUMENTS[word])
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.name == word and schema.domain == "":
            for key in set(schema.attributes) - known:
                write(
                    tmp_path / "b.onnx", *around([node(word, inputs, "z", **{key: 1})], constants)
                )
                with pytest.raises(
                    DataError, match=f"has an argument that is not known. Got {key}"
                ):
                    imported(tmp_path / "b.onnx")


def test_gemm_with_factors(tmp_path: Path) -> None:
    nodes, constants = around([node("Relu", "a", "z")], {"c": np.arange(5, dtype="f4")})
    for attributes in ({"alpha": 0.5}, {"beta": 2.0}, {"transB": 0}, {"transA": 1}):
        transposed = attributes.get("transB", 1) == 0
        arrays = constants | ({"v": HEAD["v"].T.copy()} if transposed else {})
        gemm = node("Gemm", "flat v c", "y", **{"transB": 1, **attributes})
        path = write(tmp_path / "a.onnx", [*nodes[:-1], gemm], arrays)
        if "transA" in attributes:
            with pytest.raises(DataError, match="transA of gemm_y"):
                imported(path)
        else:
            imported(path)


def test_operators_that_are_folded_are_listed() -> None:
    assert set(FOLDED) <= set(ARGUMENTS)
