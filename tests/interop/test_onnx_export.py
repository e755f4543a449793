"""ONNX export: every layer agrees with onnxruntime, and is imported again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_program import Inside, call_inside
from foreign_networks import arrays_of, random_parameters
from networks import CASES, Case
from PIL import Image

from cnn_cli.config import load_config, validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.data.dataset import Split
from cnn_cli.data.normalization import Normalization
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.errors import DataError, UsageError
from cnn_cli.inference.classifier import Classifier
from cnn_cli.interop.assemble import assemble
from cnn_cli.interop.export.onnx_check import check_onnx, normalized
from cnn_cli.interop.export.onnx_export import to_onnx
from cnn_cli.interop.export.onnx_int8 import quantize
from cnn_cli.interop.export.safetensors_export import save_safetensors
from cnn_cli.interop.exported import with_exported
from cnn_cli.interop.foreign import Foreign
from cnn_cli.interop.importing import ImportOptions, import_weights
from cnn_cli.interop.match_structure import match_structure
from cnn_cli.interop.reading import read_foreign
from cnn_cli.nn.init import initialize
from cnn_cli.nn.types import Array
from cnn_cli.runs.checkpoint import Checkpoint, save_checkpoint

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

CONFIGS = Path(__file__).parent.parent.parent / "configs"


def classifier_of(
    layers: list[Any], in_shape: tuple[int, int, int], classes: int, temperature: float = 1.0
) -> Classifier:
    """Return a network with random weights."""
    config = validate_config({"model": {"layers": layers}, "data": {"channels": in_shape[2]}}, "x")
    graph = build_graph(config.model, in_shape, classes, "x")
    params = random_parameters(graph, dtype="float32")
    rng = np.random.default_rng(2)
    for node in graph.nodes:
        for spec in node.layer.params:
            if spec.role == "weight":
                view = params.views[node.index][spec.name]
                view[...] = rng.normal(0, 1.5 / np.sqrt(spec.fan_in), view.shape)
    params.touch()
    names = tuple(f"class {i}" for i in range(classes))
    mean = (0.4, 0.5, 0.6)[: in_shape[2]]
    normalization = Normalization(mean, (0.2,) * in_shape[2])
    pre = Preprocess(*in_shape)
    place = Path("x.npz")
    return Classifier(place, {}, names, pre, normalization, graph, params, temperature)


def run(content: bytes, x: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options)
    scores: Array = session.run(None, {session.get_inputs()[0].name: x})[0]
    return scores


def pixels(classifier: Classifier, n: int) -> Array:
    return np.random.default_rng(3).integers(0, 256, (n, *classifier.graph.in_shape), np.uint8)


def assert_agrees(classifier: Classifier, n: int = 5) -> None:
    """With and without preprocessing, folded and not, for two batch sizes."""
    x = pixels(classifier, n)
    with classifier.engine(1) as engine:
        expected = engine.predict(x) / classifier.temperature
        scale = float(np.abs(expected).max())
        for fold in (False, True):
            plain = to_onnx(classifier, preprocessing=False, fold=fold)
            whole = to_onnx(classifier, preprocessing=True, fold=fold)
            for count in (n, 1):
                for found in (
                    run(plain, normalized(classifier, x[:count])),
                    run(whole, x[:count]),
                ):
                    np.testing.assert_allclose(
                        found, expected[:count], rtol=0, atol=1e-5 * max(scale, 1)
                    )


@pytest.mark.parametrize("name", CASES)
def test_every_layer(name: str) -> None:
    case = CASES[name]
    assert_agrees(classifier_of(case.layers, case.in_shape, case.classes, temperature=1.7))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config(path: Path) -> None:
    config = load_config(path)
    height, width = (min(side, 64) for side in config.data.image_size)
    in_shape = (height, width, config.data.channels)
    graph = build_graph(config.model, in_shape, 10, str(path))
    classifier = classifier_of(["flatten", {"linear": "classes"}], (1, 1, in_shape[2]), 10)
    params = random_parameters(graph, dtype="float32")
    initialize(params, 0, "kaiming")
    pre = Preprocess(*in_shape)
    names = tuple(map(str, range(10)))
    normal = classifier.normalization
    whole = Classifier(Path("x"), {}, names, pre, normal, graph, params, 1.0)
    x = pixels(whole, 2)
    with whole.engine(1) as engine:
        expected = engine.predict(x).copy()
    found = run(to_onnx(whole, preprocessing=True, fold=False), x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * float(np.abs(expected).max()))


@pytest.mark.parametrize("preprocessing", [False, True])
@pytest.mark.parametrize("factor", [2, 0.001])
def test_a_scale_of_normalized_images_is_no_normalization_of_pixels(
    tmp_path: Path, preprocessing: bool, factor: float
) -> None:
    """It is added to the mean and std that the file has beside its network."""
    layers = [{"scale": factor}, "flatten", {"linear": "classes"}]
    classifier = classifier_of(layers, (4, 5, 3), 2)
    path = tmp_path / "net.onnx"
    path.write_bytes(to_onnx(classifier, preprocessing=preprocessing, fold=False))
    import_weights(path, None, [], tmp_path / "net.npz", ImportOptions())
    back = Classifier.load(tmp_path / "net.npz")
    x = pixels(classifier, 3)
    with classifier.engine(1) as engine, back.engine(1) as other:
        np.testing.assert_allclose(other.predict(x), engine.predict(x), rtol=1e-4, atol=1e-5)


# Averages of odd windows and products of three become several operators, and what is reflected
# around an average lies before it: those are not read back.
NOT_READ = ("pooling", "modern", "padding", "gates")
READ_BACK = [name for name in CASES if name not in NOT_READ]
BLOCK = {
    "residual": {
        "layers": [
            "layernorm",
            {"conv": {"out_channels": 3, "kernel_size": 1}},
            "gelu",
            "layer_scale",
        ]
    }
}
MORE = {
    "adaptive": Case([{"adaptive_avgpool": [2, 3]}, {"linear": "classes"}], (7, 8, 3), 2),
    "scaled": Case([BLOCK, {"linear": "classes"}], (7, 8, 3), 2),
}


@pytest.mark.parametrize("name", [*READ_BACK, *MORE])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    case = (CASES | MORE)[name]
    classifier = classifier_of(case.layers, case.in_shape, case.classes)
    path = tmp_path / "net.onnx"
    path.write_bytes(to_onnx(classifier, preprocessing=False, fold=False))
    foreign = read_foreign(path)
    pairs, eps = match_structure(classifier.graph, foreign)
    found, notes = assemble(classifier.graph, foreign, pairs, eps)
    assert notes == []
    for key, array in arrays_of(classifier.params).items():
        np.testing.assert_array_equal(found[key], array, err_msg=key)


def test_squeeze_excite_is_a_product_with_a_gate(tmp_path: Path) -> None:
    """Both forms give the same network bit for bit, and the same file."""
    gate = ["global_avgpool", {"linear": 2}, "relu", {"linear": 3}, "sigmoid"]
    as_product = {"branches": {"branches": [[], gate], "combine": "product"}}
    both = [
        classifier_of([gated, {"linear": "classes"}], (4, 5, 3), 2)
        for gated in ({"squeeze_excite": 2}, as_product)
    ]
    np.testing.assert_array_equal(both[0].params.flat, both[1].params.flat)
    x = pixels(both[0], 3)
    scores = []
    for classifier in both:
        with classifier.engine(1) as engine:
            scores.append(engine.predict(x).copy())
    np.testing.assert_array_equal(scores[0], scores[1])
    path = tmp_path / "net.onnx"
    path.write_bytes(to_onnx(both[0], preprocessing=False, fold=False))
    pairs, _ = match_structure(both[1].graph, read_foreign(path))
    assert [both[1].graph.nodes[index].layer.kind for index in sorted(pairs)] == ["linear"] * 3


def test_folded_batchnorms_are_read_as_shifts(tmp_path: Path) -> None:
    case = CASES["resnet"]
    classifier = classifier_of(case.layers, case.in_shape, case.classes)
    path = tmp_path / "net.onnx"
    path.write_bytes(to_onnx(classifier, preprocessing=False, fold=True))
    foreign = read_foreign(path)
    pairs, eps = match_structure(classifier.graph, foreign)
    found, notes = assemble(classifier.graph, foreign, pairs, eps)
    assert notes == ["batchnorms that the file has folded, set to shifts: 11"]
    x = pixels(classifier, 3)
    with classifier.engine(1) as engine:
        expected = engine.predict(x).copy()
    classifier.params.load(found, "x")
    with classifier.engine(1) as engine:
        np.testing.assert_allclose(engine.predict(x), expected, rtol=1e-4, atol=1e-5)


def test_a_network_that_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"no protobuf")
    with pytest.raises(DataError, match="must be a sound ONNX network"):
        read_foreign(path)


def test_metadata() -> None:
    classifier = classifier_of(["flatten", {"linear": "classes"}], (2, 3, 3), 2)
    model = onnx.load_from_string(to_onnx(classifier, preprocessing=False, fold=False))
    found = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(found["classes"]) == ["class 0", "class 1"]
    assert json.loads(found["mean"]) == [0.4, 0.5, 0.6]
    assert json.loads(found["image_size"]) == [2, 3]
    assert found["resize_mode"] == "crop"
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"


@pytest.fixture
def cnn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    return call_inside(monkeypatch, capsys)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of a small network, beside an image."""
    classifier = classifier_of(CASES["mobile"].layers, (17, 14, 3), 4)
    document: dict[str, Any] = {"model": {"layers": CASES["mobile"].layers}}
    meta = {
        "config": document,
        "classes": list(classifier.classes),
        "preprocess": {"height": 17, "width": 14, "channels": 3, "resize_mode": "crop"},
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.2, 0.2],
    }
    path = tmp_path / "net.npz"
    save_checkpoint(path, Checkpoint(meta, {"model": arrays_of(classifier.params)}))
    Image.fromarray(pixels(classifier, 1)[0]).save(tmp_path / "a.png")
    return path


def test_the_command(cnn: Inside, checkpoint: Path) -> None:
    folder = checkpoint.parent
    out = folder / "net.onnx"
    line = ("export", "--ckpt", checkpoint, "--output", out, "--fold", "--preprocessing")
    outcome = cnn(*line, "--check", folder / "a.png")
    assert (outcome.code, outcome.err) == (0, "")
    first, second = outcome.out.splitlines()
    assert first.startswith("checked  1 images, largest difference ")
    assert second == f"written  {out}"
    found = json.loads(cnn(*line, "--check", folder / "a.png", "--json").out)
    assert found["images"] == 1
    assert found["difference"] < 1e-4


def test_safetensors_out_and_in(cnn: Inside, checkpoint: Path) -> None:
    load = pytest.importorskip("safetensors.numpy").load_file
    out = checkpoint.parent / "net.safetensors"
    assert cnn("export", "--ckpt", checkpoint, "--output", out).out == f"written  {out}\n"
    classifier = Classifier.load(checkpoint)
    arrays = arrays_of(classifier.params)
    found = load(out)
    assert set(found) == {name.replace("/", ".") for name in arrays}
    np.testing.assert_array_equal(found["layers.0.weight"], arrays["layers.0/weight"])
    assert found["layers.0.weight"].shape == (8, 3, 3, 3)
    (checkpoint.parent / "net.yaml").write_text(
        "data: {image_size: [17, 14], mean: [0.4, 0.5, 0.6], std: [0.2, 0.2, 0.2]}\n"
        f"model: {json.dumps({'layers': CASES['mobile'].layers})}\n"
    )
    back = checkpoint.parent / "back.npz"
    outcome = cnn("import", out, "--config", checkpoint.parent / "net.yaml", "--output", back)
    assert (outcome.code, outcome.err) == (0, "")
    np.testing.assert_array_equal(Classifier.load(back).params.flat, classifier.params.flat)


@pytest.mark.parametrize("kind", ["safetensors", "onnx"])
def test_a_config_is_completed_by_what_export_wrote(
    cnn: Inside, checkpoint: Path, kind: str
) -> None:
    pytest.importorskip("safetensors")
    folder = checkpoint.parent
    out, config, back = folder / f"net.{kind}", folder / "net.yaml", folder / "back.npz"
    assert cnn("export", "--ckpt", checkpoint, "--output", out).code == 0
    layers = json.dumps({"layers": CASES["mobile"].layers})
    config.write_text(f"data: {{image_size: [17, 14]}}\nmodel: {layers}\n")
    line = ("import", out, "--config", config, "--output", back)
    outcome = cnn(*line)
    assert (outcome.code, outcome.err) == (0, "")
    assert "the file's is" not in outcome.out
    first, second = Classifier.load(checkpoint), Classifier.load(back)
    assert (second.classes, second.normalization) == (first.classes, first.normalization)
    note = "note        data.resize_mode is squash; the file's is crop\n"
    assert note in cnn(*line, "data.resize_mode=squash").out
    assert cnn(*line, "--channel-order", "bgr").code == 3  # whose mean, it does not say


@pytest.mark.parametrize("exported", ["[8, 8]", "[9, 8]"])
def test_a_config_of_another_image_size_is_noted(exported: str) -> None:
    """A config writes the size of square images as one number."""
    document = {
        "data": {"image_size": 8},
        "model": {"layers": ["flatten", {"linear": "classes"}]},
    }
    foreign = Foreign("x.onnx", (), facts={"cnn_version": "0", "image_size": exported})
    config = validate_config(document, "x.yaml")
    _, notes = with_exported(config, "x.yaml", foreign, classes=True, normalization=True)
    note = f"data.image_size is [8, 8]; the file's is {exported}"
    assert notes == ([] if exported == "[8, 8]" else [note])


@pytest.mark.parametrize(
    ("in_shape", "pool"),
    [
        ((4, 5, 3), {"kernel_size": 2, "stride": 4, "padding": [0, 0, 0, 1], "dilation": 2}),
        ((9, 8, 3), {"kernel_size": [2, 3], "stride": [3, 4], "padding": [1, 0], "dilation": 3}),
    ],
)
def test_a_dilated_window_that_ends_beyond_the_padding(
    in_shape: tuple[int, int, int], pool: dict[str, Any]
) -> None:
    """onnxruntime takes no padding as wide as the kernel."""
    layers: list[Any] = [{"maxpool": pool | {"ceil_mode": True}}, "flatten", {"linear": "classes"}]
    assert_agrees(classifier_of(layers, in_shape, 2))


def test_an_infinite_border_is_not_quantized(tmp_path: Path) -> None:
    """It has no range: all scores were -inf."""
    pool = {"kernel_size": 2, "stride": 4, "padding": [0, 0, 0, 1], "dilation": 2}
    conv = {"conv": {"out_channels": 4, "kernel_size": 1}}
    layers = [conv, {"maxpool": pool | {"ceil_mode": True}}, "flatten", {"linear": "classes"}]
    classifier = classifier_of(layers, (4, 5, 3), 2)
    x = pixels(classifier, 8)
    for number, one in enumerate(x):
        Image.fromarray(one).save(tmp_path / f"{number}.png")
    images = Split([str(tmp_path / f"{i}.png") for i in range(8)], np.zeros(8, np.int64))
    content, _ = quantize(to_onnx(classifier, preprocessing=False, fold=True), classifier, images)
    with classifier.engine(1) as engine:
        expected = engine.predict(x).copy()
    found = run(content, normalized(classifier, x))
    np.testing.assert_allclose(found, expected, atol=0.05 * float(np.abs(expected).max()))


def test_what_onnxruntime_refuses_is_a_gate(
    cnn: Inside, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnn_cli.interop.export.onnx_export.to_onnx", lambda *_, **__: b"no model")
    out, picture = checkpoint.parent / "net.onnx", checkpoint.parent / "a.png"
    outcome = cnn("export", "--ckpt", checkpoint, "--output", out, "--check", picture)
    assert (outcome.code, outcome.out) == (6, "")
    assert outcome.err.startswith("cnn: --check: onnxruntime must accept the network. Got ")
    assert outcome.err.count("\n") == 1
    assert not out.exists()


def test_a_difference_is_a_gate(
    cnn: Inside, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "probabilities", lambda self, logits: logits + 1)
    out = checkpoint.parent / "net.onnx"
    picture = checkpoint.parent / "a.png"
    outcome = cnn("export", "--ckpt", checkpoint, "--output", out, "--check", picture)
    assert outcome.code == 6
    rule = "onnxruntime must agree to 0.0001 on every probability. Got a difference of "
    assert outcome.err.startswith(f"cnn: --check: {rule}")
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (
            ("--output", "a.pt"),
            2,
            "--output: must be a .onnx or .safetensors file. Got 'a.pt'.",
        ),
        (
            ("--output", "a.safetensors", "--fold"),
            2,
            "--fold: goes with an --output ending in .onnx.",
        ),
        (
            ("--output", "a.onnx", "--check", "absent.png"),
            4,
            "absent.png: cannot be read. Got no such file or directory.",
        ),
        (
            ("--output", "no/a.onnx"),
            4,
            "no/a.onnx: cannot be written. Got no such folder.",
        ),
    ],
)
def test_errors(
    cnn: Inside,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: Any,
    code: int,
    error: str,
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    outcome = cnn("export", "--ckpt", "net.npz", *arguments)
    assert (outcome.code, outcome.out, outcome.err) == (code, "", f"cnn: {error}\n")


def test_without_the_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    classifier = classifier_of(["flatten", {"linear": "classes"}], (2, 3, 3), 2)
    modules = __import__("sys").modules
    for name in ("onnx", "onnxruntime", "safetensors.numpy"):
        monkeypatch.setitem(modules, name, None)
    hint = "install it with pip install 'cnn-cli"
    with pytest.raises(UsageError) as caught:
        to_onnx(classifier, preprocessing=False, fold=False)
    assert caught.value.line() == f"export: needs onnx; {hint}[onnx]'."
    with pytest.raises(UsageError) as caught:
        check_onnx(b"", classifier, [])
    assert caught.value.line() == f"--check: needs onnxruntime; {hint}[onnx]'."
    with pytest.raises(UsageError) as caught:
        save_safetensors(classifier, tmp_path / "a.safetensors")
    assert caught.value.line() == f"export: needs safetensors; {hint}[pretrained]'."
