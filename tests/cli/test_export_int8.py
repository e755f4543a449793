"""`cnn export --int8`: smaller, nearly as accurate, otherwise refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_program import Inside

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def test_weights_are_int8_by_channel_and_scores_nearly_the_same(
    cnn: Inside, trained: Path, project: Path, tmp_path: Path
) -> None:
    file = tmp_path / "small.onnx"
    line = ("export", "--ckpt", trained, "--output", file, "--int8", "--calibrate")
    outcome = cnn(*line, project / "photos", "--split", "train")
    assert (outcome.code, outcome.err) == (0, "")
    table = [each.split() for each in outcome.out.splitlines()]
    assert [row[0] for row in table] == ["top1", "-------", "float32", "int8", "ranges", "written"]
    assert outcome.out.splitlines()[-2] == "ranges of 24 images, scores of 24"
    assert abs(float(table[2][2]) - float(table[3][2])) < 0.05
    model = onnx.load(file)
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    weights = [each for each in arrays.values() if each.dtype == np.int8 and each.ndim == 4]
    assert [each.shape for each in weights] == [(4, 1, 3, 3)]
    assert any(name.endswith("_scale") and each.shape == (4,) for name, each in arrays.items())
    told = {each.key: each.value for each in model.metadata_props}
    assert json.loads(told["classes"]) == ["bright", "dark", "grey"]


def test_json_has_both(cnn: Inside, trained: Path, project: Path, tmp_path: Path) -> None:
    file = tmp_path / "small.onnx"
    photos = project / "photos"
    line = ("export", "--ckpt", trained, "--output", file, "--int8", "--preprocessing", "--json")
    found = json.loads(cnn(*line, "--calibrate", photos, "--fail-under", "top1=0").out)
    assert (found["images"], found["bad"], found["calibrated_on"]) == (42, 0, 42)
    evaluated = json.loads(cnn("eval", photos, "--ckpt", trained, "--split", "all", "--json").out)
    assert found["before"]["top1"] == evaluated["top1"]
    assert found["before"]["loss"] == pytest.approx(evaluated["loss"], rel=1e-5)
    assert found["after"]["bytes"] == file.stat().st_size
    assert found["after"]["loss"] == pytest.approx(found["before"]["loss"], abs=0.05)


def test_a_bound_that_is_not_kept_writes_nothing(
    cnn: Inside, trained: Path, project: Path, tmp_path: Path
) -> None:
    file = tmp_path / "small.onnx"
    file.write_bytes(b"before")
    line = ("export", "--ckpt", trained, "--output", file, "--int8", "--calibrate")
    outcome = cnn(*line, project / "photos", "--fail-under", "loss=0.0001")
    assert outcome.code == 6
    assert outcome.err.startswith("cnn: --fail-under: loss must be at most 0.0001. Got ")
    assert file.read_bytes() == b"before"
    outcome = cnn(*line, project / "photos", "--fail-under", "recall:bird=0.5")
    assert outcome.code == 2


def test_pictures_that_cannot_be_read(cnn: Inside, trained: Path, tmp_path: Path) -> None:
    for name in ("bright", "dark"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(b"no picture")
    line = ("export", "--ckpt", trained, "--output", tmp_path / "x.onnx", "--int8", "--calibrate")
    outcome = cnn(*line, tmp_path)
    assert (outcome.code, outcome.out) == (4, "")
    rule = "must hold a readable image. Got 2 that cannot, such as"
    why = "not an image Pillow can read"
    assert outcome.err == f"cnn: --calibrate: {rule} {tmp_path}/bright/0.png: {why}.\n"
    assert not (tmp_path / "x.onnx").exists()


def test_without_onnxruntime(
    cnn: Inside, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    line = ("export", "--ckpt", trained, "--output", tmp_path / "x.onnx", "--int8", "--calibrate")
    outcome = cnn(*line, tmp_path)
    message = "cnn: --int8: needs onnxruntime; install it with pip install 'cnn-cli[onnx]'.\n"
    assert (outcome.code, outcome.err) == (2, message)
