"""Networks that end in a sigmoid: several labels per image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_program import Inside, call_inside
from foreign_networks import PTH, PTH_MODEL, arrays_of
from networks import CASES
from PIL import Image
from test_keras_file import layer, write_h5, write_json

from cnn_cli.errors import CnnError
from cnn_cli.inference.classifier import Classifier, SeveralLabels
from cnn_cli.interop.importing import ImportOptions, import_weights
from cnn_cli.nn.loss import sigmoid, softmax
from cnn_cli.nn.types import Array
from cnn_cli.runs.checkpoint import Checkpoint, save_checkpoint
from cnn_cli.runs.meta import SEVERAL

OPTIONS = ImportOptions(mean=(0.0,), std=(1.0,))
PTH_CONFIG = "data: {image_size: 8, mean: [0, 0, 0], std: [1, 1, 1]}\n" + PTH_MODEL
RNG = np.random.default_rng(5)
WEIGHT = RNG.normal(size=(12, 3)).astype(np.float32)
BIAS = np.array([-1.0, 0.0, 2.0], np.float32)
IMAGES = RNG.normal(size=(5, 2, 2, 3)).astype(np.float32)


@pytest.fixture
def cnn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    return call_inside(monkeypatch, capsys)


def trained(path: Path, temperature: float) -> Path:
    """Write a checkpoint of several labels, and an image beside it."""
    from test_onnx_export import classifier_of, pixels

    case = CASES["mobile"]
    classifier = classifier_of(case.layers, (17, 14, 3), 4)
    meta = {
        "config": {
            "model": {"layers": case.layers},
            "data": {"image_size": [17, 14], "labels": "multiple", "label_sep": ";"},
        },
        "classes": ["sea", "sky", "sun", "sand"],
        "preprocess": {"height": 17, "width": 14, "channels": 3, "resize_mode": "crop"},
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.2, 0.2],
        "calibration": {"temperature": temperature},
        SEVERAL: {"separator": ";", "thresholds": [0.5, 0.125, 0.1, 0.9]},
    }
    save_checkpoint(path, Checkpoint(meta, {"model": arrays_of(classifier.params)}))
    Image.fromarray(pixels(classifier, 1)[0]).save(path.parent / "a.png")
    return path


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("options", [(), ("--preprocessing",), ("--fold", "--preprocessing")])
def test_what_export_writes_is_predicted_alike(
    cnn: Inside, tmp_path: Path, options: tuple[str, ...], temperature: float
) -> None:
    pytest.importorskip("onnxruntime")
    ours, onnx, back = (tmp_path / name for name in ("a.npz", "a.onnx", "b.npz"))
    trained(ours, temperature)
    assert cnn("export", "--ckpt", ours, "--output", onnx, *options).code == 0
    outcome = cnn("import", onnx, "--output", back)
    assert (outcome.code, outcome.err) == (0, "")
    assert "note        several labels per image, thresholds 0.1 to 0.9\n" in outcome.out
    assert "agree with onnxruntime's to" in outcome.out
    first, second = Classifier.load(ours), Classifier.load(back)
    assert second.several == first.several == SeveralLabels(";", (0.5, 0.125, 0.1, 0.9))
    assert (second.config.data.labels, second.config.data.label_sep) == ("multiple", ";")
    line = ("predict", tmp_path / "a.png", "--probs", "--format", "json", "--ckpt")
    (expected,), (found,) = (json.loads(cnn(*line, ckpt).out) for ckpt in (ours, back))
    for one in (expected, found):
        assert [each["label"] for each in one["labels"]] == ["sea", "sun", "sky"]
    assert list(found["probs"]) == ["sea", "sky", "sun", "sand"]
    for name, prob in expected["probs"].items():
        assert found["probs"][name] == pytest.approx(prob, abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_weights_of_our_own_are_predicted_alike(
    cnn: Inside, tmp_path: Path, kind: str, temperature: float
) -> None:
    """The classes and the temperature of a checkpoint were lost, the thresholds too."""
    pytest.importorskip("safetensors")
    ours, file, back = (tmp_path / name for name in ("a.npz", f"a.{kind}", "b.npz"))
    trained(ours, temperature)
    if kind != "npz":
        assert cnn("export", "--ckpt", ours, "--output", file).code == 0
    config = tmp_path / "net.yaml"
    layers = json.dumps({"layers": CASES["mobile"].layers})
    data = 'image_size: [17, 14], labels: multiple, label_sep: ";"'
    config.write_text(f"data: {{{data}}}\nmodel: {layers}\n")
    line = ("import", file, "--config", config, "--output", back)
    outcome = cnn(*line)
    assert (outcome.code, outcome.err) == (0, "")
    assert ("note        temperature 2.5, which" in outcome.out) == (temperature != 1)
    first, second = Classifier.load(ours), Classifier.load(back)
    for one in ("classes", "several", "temperature", "normalization", "preprocess"):
        assert getattr(second, one) == getattr(first, one)
    np.testing.assert_array_equal(second.params.flat, first.params.flat)
    note = "note        data.label_sep is +; the file's is ;\n"
    assert note in cnn(*line, "data.label_sep=+").out
    (tmp_path / "names").write_text("a\nb\nc\nd\n")
    assert cnn(*line, "--classes", tmp_path / "names").code == 0
    assert Classifier.load(back).classes == ("a", "b", "c", "d")
    back.unlink()
    outcome = cnn(*line, "data.labels=single")
    rule = "data.labels: must be multiple, as in the file. Got single."
    assert (outcome.code, outcome.err) == (3, f"cnn: {config}: {rule}\n")
    assert not back.exists()


@pytest.mark.parametrize("temperature", ["0", "1e3", "true", '"2"'])
def test_a_damaged_temperature(tmp_path: Path, temperature: str) -> None:
    save = pytest.importorskip("safetensors.numpy").save_file
    config, path = tmp_path / "net.yaml", tmp_path / "a.safetensors"
    config.write_text(PTH_CONFIG)
    with np.load(PTH.parent / "weights.npz") as file:
        arrays = {name: file[name] for name in file.files}
    save(arrays, path, {"cnn_version": "0.1.0", "temperature": temperature})
    with pytest.raises(CnnError) as caught:
        import_weights(path, str(config), [], tmp_path / "a.npz", ImportOptions())
    rule = "temperature beside its network must be a number from 0.01 to 100"
    assert caught.value.line() == f"{path}: {rule}. Got {json.loads(temperature)}."
    assert not (tmp_path / "a.npz").exists()


def dense(activation: str, units: int = 3, after: str | None = None) -> list[Any]:
    layers = [
        layer("InputLayer", "in", [], batch_input_shape=[None, 2, 2, 3]),
        layer("Flatten", "flat", ["in"]),
        layer("Dense", "scores", ["flat"], units=units, activation=activation),
    ]
    return layers if after is None else [*layers, layer(after, "after", ["scores"])]


def keras(folder: Path, layers: list[Any], units: int = 3, write: Any = write_json) -> Path:
    arrays = {"scores": {"kernel": WEIGHT[:, :units], "bias": BIAS[:units]}}
    path: Path = write(folder, layers, arrays)
    return path


def probabilities(path: Path) -> Array:
    classifier = Classifier.load(path)
    with classifier.engine(1) as engine:
        return classifier.probabilities(engine.predict(IMAGES).copy())


def expected() -> Array:
    return sigmoid(IMAGES.reshape(5, -1) @ WEIGHT + BIAS)


@pytest.mark.parametrize("write", [write_json, write_h5])
@pytest.mark.parametrize("after", [None, "Flatten", "Dropout"])
def test_a_dense_layer_of_keras(tmp_path: Path, write: Any, after: str | None) -> None:
    path = keras(tmp_path, dense("sigmoid", after=after), write=write)
    out = tmp_path / "a.npz"
    report = import_weights(path, None, ["data.label_sep=+"], out, OPTIONS)
    assert report.notes[1] == "several labels per image, thresholds 0.5"
    assert Classifier.load(out).several == SeveralLabels("+", (0.5, 0.5, 0.5))
    np.testing.assert_allclose(probabilities(out), expected(), rtol=0, atol=1e-6)


def test_a_softmax_after_a_flattening(tmp_path: Path) -> None:
    out = tmp_path / "a.npz"
    import_weights(keras(tmp_path, dense("softmax", after="Flatten")), None, [], out, OPTIONS)
    assert Classifier.load(out).several is None
    scores = IMAGES.reshape(5, -1) @ WEIGHT + BIAS
    np.testing.assert_allclose(probabilities(out), softmax(scores), rtol=0, atol=1e-6)


@pytest.mark.parametrize("after", [None, "Flatten"])
def test_another_activation_at_the_end(tmp_path: Path, after: str | None) -> None:
    """Its values may be meant as probabilities."""
    path = keras(tmp_path, dense("tanh", after=after))
    report = import_weights(path, None, [], tmp_path / "a.npz", OPTIONS)
    note = "the file's network ends in a tanh, whose values are taken as scores"
    assert note in report.notes
    scores = np.tanh(IMAGES.reshape(5, -1) @ WEIGHT + BIAS)
    found = probabilities(tmp_path / "a.npz")
    np.testing.assert_allclose(found, softmax(scores), rtol=0, atol=1e-6)


CONFIG = "data: {image_size: 2, mean: [0, 0, 0], std: [1, 1, 1], labels: LABELS}\n" + (
    "model: {layers: [flatten, linear: classes]}\n"
)


def with_config(folder: Path, labels: str) -> str:
    path = folder / "net.yaml"
    path.write_text(CONFIG.replace("LABELS", labels))
    return str(path)


def test_with_a_config(tmp_path: Path) -> None:
    out = tmp_path / "a.npz"
    path = keras(tmp_path, dense("sigmoid"))
    import_weights(path, with_config(tmp_path, "multiple"), [], out, ImportOptions())
    assert Classifier.load(out).several == SeveralLabels("|", (0.5, 0.5, 0.5))
    np.testing.assert_allclose(probabilities(out), expected(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("activation", "labels", "other"),
    [("sigmoid", "single", "multiple"), ("softmax", "multiple", "single")],
)
def test_labels_that_the_file_contradicts(
    cnn: Inside, tmp_path: Path, activation: str, labels: str, other: str
) -> None:
    path = keras(tmp_path, dense(activation))
    line = ("import", path, "--mean", "0", "--std", "1", "--output", tmp_path / "a.npz")
    rule = f"must be {other}, because the file's network ends in a {activation}. Got {labels}."
    outcome = cnn(*line, f"data.labels={labels}")
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err == f"cnn: {path}: data.labels: {rule}\n"
    config = with_config(tmp_path, labels)
    outcome = cnn(*line, "--config", config)
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err == f"cnn: {config}: data.labels: {rule}\n"
    assert not (tmp_path / "a.npz").exists()


def test_several_labels_of_scores(tmp_path: Path) -> None:
    """Without an activation in the file, data.labels decides."""
    out = tmp_path / "a.npz"
    path = keras(tmp_path, dense("linear"))
    import_weights(path, None, ["data.labels=multiple"], out, OPTIONS)
    np.testing.assert_allclose(probabilities(out), expected(), rtol=0, atol=1e-6)
    config = tmp_path / "net.yaml"
    config.write_text(PTH_CONFIG)
    import_weights(PTH, str(config), ["data.labels=multiple"], out, ImportOptions())
    assert Classifier.load(out).several == SeveralLabels("|", (0.5, 0.5))
    import_weights(PTH, str(config), [], out, ImportOptions())
    assert Classifier.load(out).several is None


def test_one_probability(tmp_path: Path) -> None:
    path = keras(tmp_path, dense("sigmoid", 1), 1)
    for config in (None, with_config(tmp_path, "multiple")):
        with pytest.raises(CnnError) as caught:
            import_weights(path, config, [], tmp_path / "a.npz", OPTIONS)
        rule = "must end in a score for each of two or more classes"
        assert caught.value.line() == f"{path}: {rule}. Got 1."
    assert not (tmp_path / "a.npz").exists()


@pytest.mark.parametrize(
    ("thresholds", "rule"),
    [
        ("[0.5, 0.5]", "must be a number from 0 to 1 per class. Got [0.5, 0.5]."),
        ("[0.5, 0.5, 2]", "must be a number from 0 to 1 per class. Got [0.5, 0.5, 2]."),
        ("0.5", "must be a number from 0 to 1 per class. Got 0.5."),
        ("[0.5", "must be JSON."),
    ],
)
def test_damaged_thresholds(tmp_path: Path, thresholds: str, rule: str) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx_files import model, node

    nodes = [
        node("Flatten", "x", "flat"),
        node("Gemm", "flat w b", "scores"),
        node("Sigmoid", "scores", "y"),
    ]
    found = model(nodes, {"w": WEIGHT, "b": BIAS}, ("n", 3, 2, 2))
    path = tmp_path / "a.onnx"
    facts = {"cnn_version": "0.1.0", "thresholds": "[0, 0.25, 1]"}
    onnx.helper.set_model_props(found, facts)
    path.write_bytes(found.SerializeToString())
    import_weights(path, None, [], tmp_path / "a.npz", OPTIONS)
    assert Classifier.load(tmp_path / "a.npz").thresholds == (0, 0.25, 1)
    onnx.helper.set_model_props(found, facts | {"thresholds": thresholds})
    path.write_bytes(found.SerializeToString())
    with pytest.raises(CnnError) as caught:
        import_weights(path, None, [], tmp_path / "b.npz", OPTIONS)
    assert caught.value.line() == f"{path}: thresholds beside its network {rule}"
    assert not (tmp_path / "b.npz").exists()


def test_the_comparison_is_of_probabilities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores that are right, but turned into other probabilities than the file's, are refused."""
    pytest.importorskip("onnxruntime")
    from onnx_files import node, write

    from cnn_cli.interop import onnx_agreement

    nodes = [
        node("Flatten", "x", "flat"),
        node("Gemm", "flat w b", "scores"),
        node("Sigmoid", "scores", "y"),
    ]
    path = write(tmp_path / "a.onnx", nodes, {"w": WEIGHT, "b": BIAS}, shape=("n", 3, 2, 2))
    monkeypatch.setattr(onnx_agreement, "sigmoid", softmax)
    with pytest.raises(CnnError, match=r"must give onnxruntime's scores to 0\.001 of the largest"):
        import_weights(path, None, [], tmp_path / "a.npz", OPTIONS)
