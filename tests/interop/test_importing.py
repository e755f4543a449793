"""`cnn import` as a whole: preprocessing, class names and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_program import Inside, call_inside
from foreign_networks import PTH, PTH_MODEL
from PIL import Image

from cnn_cli.inference.classifier import Classifier
from cnn_cli.interop.importing import ImportOptions, import_weights
from cnn_cli.nn.types import Array
from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint

CONFIG = "data: {image_size: 8}\n" + PTH_MODEL


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "net.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def cnn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    return call_inside(monkeypatch, capsys)


def imported(config: Path, **options: Any) -> Classifier:
    output = config.parent / "out.npz"
    import_weights(PTH, str(config), [], output, ImportOptions(**options))
    return Classifier.load(output)


def logits(classifier: Classifier, images: Array) -> Array:
    with classifier.engine(1) as engine:
        return engine.predict(images).copy()


def test_blue_green_red_of_0_to_255_becomes_ours_exactly(config: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), np.uint8)
    plain = imported(config, mean=(0.0,), std=(1.0,))
    mean, std = np.array([103.939, 116.779, 123.68]), np.array([1.0, 2.0, 3.0])
    # As the weights' author computes it: swapped, and in float64.
    swapped = (pixels[..., ::-1].astype(np.float64) - mean) / std
    expected = logits(plain, swapped.astype(np.float32))
    folded = imported(
        config, mean=tuple(mean), std=tuple(std), value_range=255.0, channel_order="bgr"
    )
    np.testing.assert_allclose(logits(folded, pixels), expected, rtol=1e-5, atol=1e-4)
    # The config in the checkpoint can be used for further training.
    assert folded.config.data.mean == folded.normalization.mean
    np.testing.assert_allclose(np.array(folded.normalization.mean) * 255, mean[::-1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat\nEgyptian cat\n", ("cat", "Egyptian cat")),
        ('["a", "b"]', ("a", "b")),
        ('{"1": "b", "0": "a"}', ("a", "b")),
        ('{"0": ["n01", "tench"], "1": ["n02", "goldfish"]}', ("tench", "goldfish")),
        ("crane\ncrane\n", ("crane (0)", "crane (1)")),
    ],
)
def test_class_names(config: Path, text: str, expected: tuple[str, ...]) -> None:
    names = config.parent / "names"
    names.write_text(text)
    classifier = imported(config, mean=(0.0,), std=(1.0,), classes_file=names)
    assert classifier.classes == classifier.config.data.classes == expected


def test_classes_without_names_are_numbers(config: Path) -> None:
    assert imported(config, mean=(0.0,), std=(1.0,)).classes == ("0", "1")


OPTIONS = ("--mean", "0.5", "--std", "0.5")


def test_the_command(cnn: Inside, config: Path) -> None:
    folder = config.parent
    out = folder / "net.npz"
    line = ("import", PTH, "--config", config, "--output", out, *OPTIONS)
    outcome = cnn(*line)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (
        "matched     3 layers by known names\n"
        "parameters  126\n"
        "classes     2\n"
        "mean, std   0.5, 0.5, 0.5; 0.5, 0.5, 0.5 (red, green, blue, of 0..1)\n"
        "note        classes are numbers: no --classes FILE names them\n"
        f"written     {out}\n"
    )
    found = json.loads(cnn(*line, "--json").out)
    assert found["pairs"] == {"layers.0": "conv1", "layers.1": "bn1", "layers.4": "fc"}
    Image.new("RGB", (10, 12), "red").save(folder / "red.png")
    predicted = cnn("predict", folder / "red.png", "--ckpt", out)
    assert predicted.code == 0
    assert predicted.out.split("\t")[1] in ("0", "1")


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (
            (),
            3,
            "net.yaml: data.mean: must be what the weights were trained with; give --mean. "
            "Got auto.",
        ),
        ((*OPTIONS, "--value-range", 0), 2, "--value-range: must be a number above 0. Got 0."),
        (("--mean", "a"), 2, "--mean: must be numbers with commas between them. Got 'a'."),
        (
            ("--std", "1,0"),
            2,
            "--std: must be numbers above 0 with commas between them. Got '1,0'.",
        ),
        (
            ("--mean", "1,2", "--std", "1"),
            3,
            "net.yaml: data: mean must have one number per channel, 3.",
        ),
        (
            ("--channel-order", "gbr"),
            2,
            "--channel-order: must be rgb or bgr. Got 'gbr'.",
        ),
        (
            (*OPTIONS, "--classes", "absent"),
            4,
            "absent: cannot be read. Got no such file or directory.",
        ),
        (
            (*OPTIONS, "model.layers.0.conv.out_channels=5"),
            4,
            f"{PTH}: arrays must be the network's. Got misshapen conv1.weight of shape "
            "(4, 3, 3, 3), not (5, 3, 3, 3) as layers.0/weight, bn1.weight of shape (4,), not (5,) "
            "as layers.1/weight, bn1.bias of shape (4,), not (5,) as layers.1/bias, "
            "bn1.running_mean of shape (4,), not (5,) as layers.1/running_mean, bn1.running_var of "
            "shape (4,), not (5,) as layers.1/running_var and 1 more.",
        ),
    ],
)
def test_errors(
    cnn: Inside,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: Any,
    code: int,
    error: str,
) -> None:
    monkeypatch.chdir(config.parent)
    outcome = cnn("import", PTH, *arguments, "--config", "net.yaml", "--output", "a.npz")
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err == f"cnn: {error}\n"
    assert not Path("a.npz").exists()


def test_another_ending_is_no_checkpoint(cnn: Inside, config: Path) -> None:
    outcome = cnn("import", PTH, "--config", config, "--output", "a.pth", *OPTIONS)
    assert outcome.err == "cnn: --output: must be a .npz file. Got 'a.pth'.\n"
    assert outcome.code == 2


def test_safetensors_and_npz(config: Path) -> None:
    save = pytest.importorskip("safetensors.numpy").save_file
    with np.load(PTH.parent / "weights.npz") as file:
        arrays = {name: file[name] for name in file.files}
    save(arrays, config.parent / "a.safetensors")
    np.savez(config.parent / "a.npz", **arrays)
    options = ImportOptions(mean=(0.0,), std=(1.0,))
    expected = imported(config, mean=(0.0,), std=(1.0,)).params.flat
    for name in ("a.safetensors", "a.npz"):
        output = config.parent / "b.npz"
        import_weights(config.parent / name, str(config), [], output, options)
        np.testing.assert_array_equal(Classifier.load(output).params.flat, expected)


def test_a_map_of_another_order(config: Path) -> None:
    mapping = config.parent / "map.yaml"
    mapping.write_text("layers.4: fc\nlayers.0: conv1\nlayers.1: bn1\n")
    plain = imported(config, mean=(0.0,), std=(1.0,)).params.flat.copy()
    mapped = imported(config, mean=(0.0,), std=(1.0,), map_file=mapping)
    np.testing.assert_array_equal(mapped.params.flat, plain)


def test_arrays_that_are_left_out(cnn: Inside, config: Path) -> None:
    with np.load(PTH.parent / "weights.npz") as file:
        arrays = {name: file[name] for name in file.files}
    file_ = config.parent / "a.npz"
    extra: dict[str, Any] = {"aux1.fc.weight": np.ones((2, 3)), "criterion.weight": np.ones(2)}
    np.savez(file_, **arrays, **extra)
    line = ("import", file_, "--config", config, "--output", config.parent / "b.npz", *OPTIONS)
    outcome = cnn(*line)
    assert (outcome.code, outcome.err) == (0, "")
    assert "note        arrays left out: aux1.fc.weight, criterion.weight\n" in outcome.out
    extra = {"head.3.weight": np.ones((2, 3))}
    np.savez(file_, **arrays, **extra)
    assert cnn(*line).code == 4
    assert cnn(*line, "--ignore", "head.*").code == 0
    outcome = cnn(*line, "--ignore", "tail.*")
    assert (outcome.code, outcome.err) == (
        2,
        f"cnn: --ignore: must match an array of {file_}. Got tail.*.\n",
    )
    outcome = cnn(*line, "--which", "both")
    assert (outcome.code, outcome.err) == (2, "cnn: --which: must be ema or model. Got 'both'.\n")


def test_standardized_weights(cnn: Inside, config: Path) -> None:
    out = config.parent / "net.npz"
    line = ("import", PTH, "--config", config, "--output", out, *OPTIONS)
    outcome = cnn(*line, "--standardize", "1e-6")
    assert "note        convolutions' weights standardized: 1\n" in outcome.out
    weight = Classifier.load(out).params.named()["layers.0/weight"]
    np.testing.assert_allclose(weight.mean(axis=(1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(weight.var(axis=(1, 2, 3)), 1, rtol=1e-2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", "must be numbers above 0 with commas between them. Got '0'."),
        ("1,2,3", "must be one number, or two with a comma between them. Got 3."),
        ("1e-6,1.7", "GAMMA goes with a file that has gains. Got 1.7."),
    ],
)
def test_a_standardization_that_is_none(
    cnn: Inside, config: Path, value: str, expected: str
) -> None:
    out = config.parent / "net.npz"
    line = ("import", PTH, "--config", config, "--output", out, *OPTIONS)
    outcome = cnn(*line, "--standardize", value)
    assert (outcome.code, outcome.err) == (2, f"cnn: --standardize: {expected}\n")
    assert not out.exists()


def test_a_standardization_without_convolutions(cnn: Inside, tmp_path: Path) -> None:
    config = tmp_path / "net.yaml"
    config.write_text("data: {image_size: 2}\nmodel: {layers: [flatten, linear: classes]}\n")
    arrays: dict[str, Any] = {"fc.weight": np.ones((2, 12)), "fc.bias": np.ones(2)}
    np.savez(tmp_path / "a.npz", **arrays)
    line = ("import", tmp_path / "a.npz", "--config", config, "--output", tmp_path / "b.npz")
    outcome = cnn(*line, *OPTIONS, "--standardize", "1e-6")
    assert outcome.err == "cnn: --standardize: goes with a network that has convolutions.\n"
    assert (outcome.code, (tmp_path / "b.npz").exists()) == (2, False)


MEAN = "layers.1/running_mean"
BOTH = "weights are those that were trained; --which ema takes their average"
KINDS = ("model", "ema", "precise_bn")
EXPECTED = {  # groups, --which: the groups whose first bias and running mean are imported
    (KINDS, None): ("model", "model"),
    (KINDS, "model"): ("model", "model"),
    (KINDS, "ema"): ("ema", "precise_bn"),
    (("model", "ema"), None): ("model", "model"),
    (("model", "ema"), "ema"): ("ema", "model"),
    (("model", "precise_bn"), None): ("model", "precise_bn"),
    (("model", "precise_bn"), "model"): ("model", "precise_bn"),
    (("model",), None): ("model", "model"),
}


@pytest.mark.parametrize(("groups", "which"), EXPECTED)
def test_weights_and_their_average_of_our_own(
    cnn: Inside, config: Path, groups: tuple[str, ...], which: str | None
) -> None:
    """As `Classifier.load` reads them; statistics that the average lacks are those of training."""
    imported(config, mean=(0.0,), std=(1.0,))
    ours, back = config.parent / "out.npz", config.parent / "back.npz"
    checkpoint = load_checkpoint(ours, ("model",))
    stored = checkpoint.groups["model"]
    values = dict(zip(KINDS, (1.0, 2.0, 3.0), strict=True))
    names = {"model": list(stored), "ema": ["layers.1/bias"], "precise_bn": [MEAN]}
    checkpoint.groups = {
        group: {name: np.full_like(stored[name], values[group]) for name in names[group]}
        for group in groups
    }
    save_checkpoint(ours, checkpoint)
    line = ("import", ours, "--config", config, "--output", back, *OPTIONS)
    outcome = cnn(*line, *(() if which is None else ("--which", which)))
    assert (outcome.code, outcome.err) == (0, "")
    assert (BOTH in outcome.out) == ("ema" in groups and which is None)
    params = Classifier.load(back).params
    found = params.named()["layers.1/bias"][0], params.named_buffers()[MEAN][0]
    assert found == tuple(values[group] for group in EXPECTED[groups, which])


def test_an_average_that_is_missing(cnn: Inside, config: Path) -> None:
    imported(config, mean=(0.0,), std=(1.0,))
    ours, back = config.parent / "out.npz", config.parent / "back.npz"
    line = ("import", ours, "--config", config, "--output", back, *OPTIONS)
    outcome = cnn(*line, "--which", "ema")
    rule = "must hold a moving average of the weights for --which ema"
    assert (outcome.code, outcome.err) == (4, f"cnn: {ours}: {rule}.\n")
    assert not back.exists()


@pytest.mark.parametrize("which", ["ema", "model"])
@pytest.mark.parametrize(
    "name",
    [
        *("a.safetensors", "a.safetensors.index.json", "a.onnx", "a.json", "a.keras", "a.h5"),
        "a.npz",
    ],
)
def test_a_choice_that_other_formats_lack(cnn: Inside, config: Path, name: str, which: str) -> None:
    file = config.parent / name
    file.write_bytes((PTH.parent / "weights.npz").read_bytes())
    line = ("import", file, "--config", config, "--output", config.parent / "b.npz", *OPTIONS)
    outcome = cnn(*line, "--which", which)
    rule = f"goes with a .pth file or a checkpoint of cnn. Got {file}."
    assert (outcome.code, outcome.err) == (2, f"cnn: --which: {rule}\n")


def test_a_list_of_names_goes_alone(cnn: Inside) -> None:
    outcome = cnn("import", "--list", "a.onnx", "--output", "a.npz")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "cnn: --list: goes without WEIGHTS. Got a.onnx.\n"
