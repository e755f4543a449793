"""ONNX networks without a config: imported, and compared with onnxruntime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_program import Inside, call_inside
from networks import CASES
from onnx_files import OPTIONS, around, constant, imported, kinds_of, node, refusal, write
from test_onnx_export import classifier_of, pixels

from cnn_cli.errors import DataError, UsageError
from cnn_cli.inference.classifier import Classifier
from cnn_cli.interop import onnx_agreement
from cnn_cli.interop.export.onnx_export import to_onnx
from cnn_cli.interop.importing import ImportOptions, import_weights
from cnn_cli.nn.types import Array

pytest.importorskip("onnxruntime")


@pytest.fixture
def cnn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    return call_inside(monkeypatch, capsys)


def scores(classifier: Classifier, images: Array) -> Array:
    with classifier.engine(1) as engine:
        return engine.predict(images).copy()


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_what_export_writes(tmp_path: Path, name: str, fold: bool) -> None:
    """With preprocessing; classes, mean and std are included."""
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
    """Pixels of 0 to 255, which the network normalizes first."""
    plain, path = ImportOptions(), tmp_path / "b.npz"
    nodes, constants = around([node("Relu", "a", "z")], {})
    nodes[0].input[0] = "n"
    nodes = [node("Mul", "x scale", "m"), node("Sub", "m mean", "n"), *nodes]
    constants |= {"scale": constant(1 / 127.5), "mean": constant([[[0.5]], [[1.0]], [[1.5]]])}
    found, _ = imported(write(tmp_path / "a.onnx", nodes, constants), value_range=None)
    assert kinds_of(found)[0] == "conv"
    np.testing.assert_allclose(found.normalization.mean, [0.25, 0.5, 0.75], rtol=1e-6)
    np.testing.assert_allclose(found.normalization.std, [0.5] * 3, rtol=1e-6)
    for key in ("mean", "std"):
        with pytest.raises(UsageError) as caught:
            import_weights(tmp_path / "a.onnx", None, [f"data.{key}=[1,1,1]"], path, plain)
        rule = f"the file's network normalizes images itself; give --{key} to do so before it."
        assert caught.value.line() == f"data.{key}: {rule}"
    again = ImportOptions(mean=(0.0,), std=(1.0,))
    import_weights(tmp_path / "a.onnx", None, ["data.mean=[1,1,1]"], path, again)


def test_a_map_without_a_config(cnn: Inside, tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", *around([node("Relu", "a", "z")], {}))
    outcome = cnn("import", path, "--map", "absent.yaml", "--output", tmp_path / "a.npz")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "cnn: --map: goes with --config CONFIG. Got absent.yaml.\n"
    assert not (tmp_path / "a.npz").exists()


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
