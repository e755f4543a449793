"""Configs derived from Keras' own files, compared with known scores.

`data/make_keras.py` writes the files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copy
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from cli_program import Inside, call_inside

from cnn_cli.config import plain_config
from cnn_cli.errors import DataError
from cnn_cli.inference.classifier import Classifier
from cnn_cli.interop.importing import UNCOMPARED, ImportOptions, import_weights
from cnn_cli.nn.types import Array

h5py = pytest.importorskip("h5py")

DATA = Path(__file__).parent / "data"
GOLDEN = dict(np.load(DATA / "keras.npz"))
NETWORKS = ("mobile", "nested", "shared", "flat")


@pytest.fixture
def cnn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    return call_inside(monkeypatch, capsys)


def check(path: Path, name: str, output: Path, overrides: tuple[str, ...] = ()) -> Classifier:
    """Import a file; its scores must equal those of Keras."""
    report = import_weights(path, None, list(overrides), output, ImportOptions())
    assert report.notes[-1] == UNCOMPARED
    classifier = Classifier.load(output)
    mean, std = (np.array(each, np.float64) for each in (report.mean, report.std))
    x = ((GOLDEN["images"] / 255 - mean) / std).astype(np.float32)
    with classifier.engine(1) as engine:
        found = engine.predict(x)
    np.testing.assert_allclose(found, GOLDEN[name], rtol=0, atol=2e-6)
    return classifier


def kinds(layers: list[Any]) -> list[str]:
    return [next(iter(layer)) for layer in layers]


@pytest.mark.parametrize("name", NETWORKS)
def test_archives(tmp_path: Path, name: str) -> None:
    check(DATA / f"{name}.keras", name, tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["mobile", "nested"])
def test_hdf5(tmp_path: Path, name: str) -> None:
    check(DATA / f"{name}.h5", name, tmp_path / "a.npz")


def test_the_config(tmp_path: Path) -> None:
    classifier = check(DATA / "mobile.keras", "mobile", tmp_path / "a.npz")
    layers = plain_config(classifier.config)["model"]["layers"]
    assert kinds(layers) == [
        *("conv", "conv", "batchnorm", "hardswish", "residual"),
        *("global_avgpool", "dropout", "linear"),
    ]
    (inner,) = (each["residual"]["layers"] for each in layers if "residual" in each)
    assert kinds(inner) == ["conv", "relu6", "pad", "squeeze_excite"]
    assert inner[0]["conv"]["padding"] == [0, 1, 1, 1]
    assert inner[3]["squeeze_excite"]["gate"] == "hardsigmoid"


def test_layers_that_several_read(tmp_path: Path) -> None:
    classifier = check(DATA / "shared.keras", "shared", tmp_path / "a.npz")
    layers = plain_config(classifier.config)["model"]["layers"]
    assert [each["from"]["layer"] for each in layers if "from" in each] == [
        *("conv2d", "conv2d_1", "add"),
    ]
    assert layers[0]["conv"]["name"] == "conv2d"


def parts(path: Path) -> dict[str, bytes]:
    with ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, content: dict[str, bytes]) -> Path:
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, each in content.items():
            archive.writestr(name, each)
    return path


@pytest.mark.parametrize("beside", ["config.json", "net.json"])
def test_weights_with_their_network_beside(tmp_path: Path, beside: str) -> None:
    content = parts(DATA / "mobile.keras")
    path = tmp_path / "net.weights.h5"
    path.write_bytes(content["model.weights.h5"])
    with pytest.raises(DataError) as caught:
        import_weights(path, None, [], tmp_path / "a.npz", ImportOptions())
    rule = (
        "must hold the network as well as its weights, as model.save writes, or have it in a "
        "config.json beside"
    )
    assert caught.value.line() == f"{path}: {rule}. Got weights alone."
    (tmp_path / beside).write_bytes(content["config.json"])
    check(path, "mobile", tmp_path / "a.npz")
    with pytest.raises(DataError) as caught:
        import_weights(tmp_path / beside, None, [], tmp_path / "a.npz", ImportOptions())
    rule = "must be TensorFlow.js's; of another network, give the file of its weights"
    assert caught.value.line() == f"{tmp_path / beside}: {rule}. Got a network without weights."


def test_older_weights_with_their_network_beside(tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    with h5py.File(DATA / "nested.h5") as old, h5py.File(path, "w") as new:
        weights = old["model_weights"]
        for key, value in weights.attrs.items():
            new.attrs[key] = value
        for key in weights:
            weights.copy(key, new)
        (tmp_path / "net.json").write_text(old.attrs["model_config"])
    check(path, "nested", tmp_path / "a.npz")


def test_layers_that_older_files_do_not_name(tmp_path: Path) -> None:
    """Older Keras 3 files name layers only by kind."""
    content = parts(DATA / "nested.keras")
    path = tmp_path / "model.weights.h5"
    path.write_bytes(content["model.weights.h5"])
    with h5py.File(path, "r+") as file:
        named = []
        file.visititems(lambda _, found: named.append(found) if "name" in found.attrs else None)
        for each in named:
            del each.attrs["name"]
    content["model.weights.h5"] = path.read_bytes()
    check(write(tmp_path / "a.keras", content), "nested", tmp_path / "a.npz")


def test_hdf5_that_is_called_an_archive(tmp_path: Path) -> None:
    copy(DATA / "nested.h5", tmp_path / "a.keras")
    check(tmp_path / "a.keras", "nested", tmp_path / "a.npz")


def changed(path: Path, output: Path, change: Any) -> Path:
    """Return an archive with modified layer configurations."""
    content = parts(path)
    document = json.loads(content["config.json"])

    def walk(config: Any) -> None:
        for layer in config["layers"]:
            change(layer)
            if "layers" in layer["config"]:
                walk(layer["config"])

    walk(document["config"])
    content["config.json"] = json.dumps(document).encode()
    return write(output, content)


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        import_weights(path, None, [], path.with_suffix(".npz"), ImportOptions())
    assert not path.with_suffix(".npz").exists()
    return caught.value.line().removeprefix(f"{path}: ")


def test_a_size_that_the_file_leaves_open(tmp_path: Path) -> None:
    def change(layer: Any) -> None:
        if "batch_shape" in layer["config"]:
            layer["config"]["batch_shape"] = [None, None, None, 3]

    path = changed(DATA / "mobile.keras", tmp_path / "a.keras", change)
    assert refusal(path) == "the input must have a size; give data.image_size. Got none."
    check(path, "mobile", tmp_path / "a.npz", ("data.image_size=[15,14]",))


def replaced(word: str, **config: Any) -> Any:
    def change(layer: Any) -> None:
        if layer["class_name"] == word:
            layer["config"] |= config

    return change


def called(word: str, other: str) -> Any:
    def change(layer: Any) -> None:
        if layer["class_name"] == word:
            layer["class_name"] = other

    return change


def training(layer: Any) -> None:
    if layer["class_name"] == "BatchNormalization":
        layer["inbound_nodes"][0]["kwargs"] = {"training": True}


def used_twice(layer: Any) -> None:
    if layer["class_name"] == "SeparableConv2D":
        layer["inbound_nodes"] *= 2


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (
            called("SeparableConv2D", "Lambda"),
            "layer separable_conv2d is of an unknown kind. Got Lambda.",
        ),
        (
            training,
            "layer batch_normalization (BatchNormalization) must not be in training. Got True.",
        ),
        (
            used_twice,
            "layer separable_conv2d (SeparableConv2D) must be used once. Got 2 uses.",
        ),
        (
            replaced("SeparableConv2D", of_a_later_version=1),
            "separable_conv2d (SeparableConv2D) has an argument that is not known. "
            "Got of_a_later_version.",
        ),
        (
            replaced("BatchNormalization", axis=1),
            "layer batch_normalization (BatchNormalization) must be of the last axis, channels. "
            "Got 1.",
        ),
        (
            replaced("DepthwiseConv2D", kernel_size=[99, 99]),
            "layer depthwise_conv2d must fit its input. Got a window of 99 does not fit into 9.",
        ),
        (called("InputLayer", "Rescaling"), None),
        (called("Add", "Subtract"), "layer add_1 is of an unknown kind. Got Subtract."),
        (replaced("Conv2D", activation={"class_name": "Mish", "config": {}}), None),
    ],
)
def test_what_cannot_be_expressed(tmp_path: Path, change: Any, got: str | None) -> None:
    found = refusal(changed(DATA / "mobile.keras", tmp_path / "a.keras", change))
    assert got is None or found == got


def test_arrays_that_are_missing(tmp_path: Path) -> None:
    content = parts(DATA / "mobile.keras")
    path = tmp_path / "model.weights.h5"
    path.write_bytes(content["model.weights.h5"])
    with h5py.File(path, "r+") as file:
        del file["layers/conv2d"]
    content["model.weights.h5"] = path.read_bytes()
    archive = write(tmp_path / "a.keras", content)
    assert refusal(archive) == "operator conv2d (conv) must have weights."


def test_archives_that_are_broken(tmp_path: Path) -> None:
    content = parts(DATA / "nested.keras")
    path = tmp_path / "a.keras"
    path.write_bytes(b"no archive")
    assert refusal(path) == "must be a sound file of Keras. Got file is not a zip file."
    for name in content:
        write(path, {key: each for key, each in content.items() if key != name})
        assert refusal(path).startswith("must be a sound file of Keras. Got "), name
    write(path, content | {"config.json": b"{"})
    assert refusal(path) == "must describe its network in JSON."
    write(path, content | {"config.json": b"[" * 100_000})
    assert refusal(path) == "must describe its network in JSON."
    write(path, content | {"config.json": bytes(20_000_000)})
    assert refusal(path).startswith("must be a sound file of Keras. Got config.json of ")
    write(path, content | {"model.weights.h5": bytes(600_000_000)})
    assert refusal(path).startswith("must not unpack to more than 32 times its size. Got ")


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    def ends(layers: Any) -> Path:
        content = parts(DATA / "shared.keras")
        document = json.loads(content["config.json"])
        document["config"]["output_layers"] = layers
        content["config.json"] = json.dumps(document).encode()
        return write(tmp_path / "a.keras", content)

    path = ends([["dense", 0, 0], ["add", 0, 0]])
    assert refusal(path) == "must have one output. Got 2: dense, add."
    content = parts(path)
    document = json.loads(content["config.json"])
    document["config"]["layers"].insert(1, document["config"]["layers"][0] | {"name": "other"})
    content["config.json"] = json.dumps(document).encode()
    path = write(tmp_path / "b.keras", content)
    assert refusal(path).startswith("must have one input. Got 2: ")


def test_the_command(cnn: Inside, tmp_path: Path) -> None:
    out = tmp_path / "a.npz"
    outcome = cnn("import", DATA / "mobile.keras", "--output", out)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("matched     7 layers by the file's own network\n")
    assert f"note        {UNCOMPARED}\n" in outcome.out


def average_of_windows(x: Array, kernel: int, stride: int) -> Array:
    """TensorFlow's average with `same`: over what lies inside, with more of the border at the
    end.
    """
    size = x.shape[0]
    outputs = -(-size // stride)
    before = max((outputs - 1) * stride + kernel - size, 0) // 2
    spans = [
        slice(max(i * stride - before, 0), min(i * stride - before + kernel, size))
        for i in range(outputs)
    ]
    return np.array([[x[rows, columns].mean((0, 1)) for columns in spans] for rows in spans])


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (4, 1), (2, 1)])
def test_averages_that_pad_on_one_side(tmp_path: Path, kernel: int, stride: int) -> None:
    """As in TensorFlow; Keras with PyTorch repeats the border instead."""
    window = {"pool_size": [kernel] * 2, "strides": [stride] * 2, "padding": "same"}
    check_layer(
        tmp_path, "AveragePooling2D", window, lambda x: average_of_windows(x, kernel, stride)
    )


def test_rows_and_columns_that_are_cut_off(tmp_path: Path) -> None:
    cropping = {"cropping": [[1, 0], [2, 3]]}
    check_layer(tmp_path, "Cropping2D", cropping, lambda x: x[1:, 2:-3])


def check_layer(
    tmp_path: Path, word: str, config: dict[str, Any], expected: Callable[[Array], Array]
) -> None:
    """Compare what an imported layer makes of an image, before a dense layer."""
    from test_keras_file import layer, write_json

    layers = [
        layer("InputLayer", "in", [], batch_input_shape=[None, 8, 8, 3]),
        layer(word, "it", ["in"], **config),
        layer("Flatten", "flat", ["it"]),
        layer("Dense", "scores", ["flat"], units=4),
    ]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 8, 3)).astype(np.float32)
    y = expected(x)
    weight = rng.normal(size=(y.size, 4)).astype(np.float32)
    path = write_json(tmp_path, layers, {"scores": {"kernel": weight, "bias": np.zeros(4)}})
    options = ImportOptions(mean=(0.0,), std=(1.0,))
    import_weights(path, None, [], tmp_path / "a.npz", options)
    classifier = Classifier.load(tmp_path / "a.npz")
    with classifier.engine(1) as engine:
        found = engine.predict(x[None])
    np.testing.assert_allclose(found[0], y.reshape(-1) @ weight, rtol=0, atol=1e-5)
