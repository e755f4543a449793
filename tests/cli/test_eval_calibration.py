"""`cnn eval --tta` and `--calibrate`, and predictions with a calibrated checkpoint."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_program import Inside
from PIL import Image

from cnn_cli.nn.engine import Engine
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.runs.folder import RunFolder

CALIBRATION = ["temperature", "images", "loss_before", "loss_after", "ece_before", "ece_after"]


@pytest.fixture
def mixed(project: Path, tmp_path: Path) -> Path:
    """Images, a few of them with wrong labels."""
    photos = tmp_path / "photos"
    shutil.copytree(project / "photos/train", photos)
    shutil.copy(photos / "dark/0.png", photos / "bright/wrong.png")
    shutil.copy(photos / "bright/0.png", photos / "grey/wrong.png")
    return photos


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """A checkpoint that tests may change."""
    return Path(shutil.copy(trained / "best.npz", tmp_path / "m.npz"))


def result(cnn: Inside, *arguments: object) -> dict[str, object]:
    outcome = cnn("eval", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    document: dict[str, object] = json.loads(outcome.out)
    return document


@pytest.mark.parametrize("tta", ["hflip", "multicrop", "tencrop"])
def test_tta_averages_the_logits_of_the_views(
    cnn: Inside, trained: Path, project: Path, tta: str
) -> None:
    plain = result(cnn, project / "photos", "--ckpt", trained)
    document = result(cnn, project / "photos", "--ckpt", trained, "--tta", tta)
    assert (plain["tta"], document["tta"]) == (None, tta)
    assert list(document) == list(plain)
    assert document["loss"] != plain["loss"]


def test_tta_of_symmetric_pictures_changes_nothing(
    cnn: Inside, trained: Path, tmp_path: Path
) -> None:
    for name, level in (("bright", 200), ("dark", 20)):
        (tmp_path / name).mkdir()
        pixels = np.full((8, 8), level, np.uint8)
        pixels[3:5, 2:6] += 20
        Image.fromarray(pixels).save(tmp_path / name / "x.png")
    plain = result(cnn, tmp_path, "--ckpt", trained)
    mirrored = result(cnn, tmp_path, "--ckpt", trained, "--tta", "hflip")
    assert mirrored["loss"] == pytest.approx(plain["loss"], rel=1e-5)


def test_calibrate(cnn: Inside, model: Path, mixed: Path) -> None:
    before = result(cnn, mixed, "--ckpt", model)
    assert before["temperature"] == 1
    outcome = cnn("eval", mixed, "--ckpt", model, "--calibrate", "--json")
    document = json.loads(outcome.out)
    found = document["calibration"]
    assert list(found) == CALIBRATION
    assert outcome.err == f"cnn: {model}: has temperature {found['temperature']:.4f} now\n"
    assert found["images"] == 26
    assert (found["loss_before"], found["ece_before"]) == (before["loss"], before["ece"])
    assert (found["loss_after"], found["ece_after"]) == (document["loss"], document["ece"])
    assert found["loss_after"] < found["loss_before"]
    assert document["temperature"] == found["temperature"] != 1
    assert document["top1"] == before["top1"]
    # From now on the temperature is applied.
    after = result(cnn, mixed, "--ckpt", model)
    assert "calibration" not in after
    assert {key: document[key] for key in after} == after
    content = model.read_bytes()
    assert result(cnn, mixed, "--ckpt", model, "--calibrate") == document
    assert model.read_bytes() == content, "calibrating twice is calibrating once"


def test_text_says_what_it_did(cnn: Inside, model: Path, mixed: Path) -> None:
    lines = cnn("eval", mixed, "--ckpt", model, "--calibrate").out.splitlines()
    assert [line.split()[0] for line in lines[:10]] == [
        "images",
        "loss",
        "top-1",
        "top-3",
        "macro_f1",
        "kappa",
        "auc",
        "brier",
        "temperature",
        "calibration",
    ]


def test_predict_uses_it(cnn: Inside, model: Path, mixed: Path, picture: Path) -> None:
    before = json.loads(cnn("predict", picture, "--ckpt", model, "--json").out)[0]
    outcome = cnn("eval", mixed, "--ckpt", model, "--calibrate", "--json")
    temperature: float = json.loads(outcome.out)["temperature"]
    after = json.loads(cnn("predict", picture, "--ckpt", model, "--json").out)[0]
    assert after["label"] == before["label"]

    def log_odds(row: dict[str, list[dict[str, float]]]) -> float:
        return float(np.log(row["topk"][0]["prob"] / row["topk"][1]["prob"]))

    assert log_odds(after) == pytest.approx(log_odds(before) / temperature, rel=1e-3)


def test_nothing_to_calibrate_with(cnn: Inside, model: Path, project: Path, tmp_path: Path) -> None:
    content = model.read_bytes()
    (tmp_path / "right/bright").mkdir(parents=True)
    shutil.copy(project / "photos/train/bright/0.png", tmp_path / "right/bright")
    guess = json.loads(cnn("predict", tmp_path / "right", "--ckpt", model, "--json").out)
    (tmp_path / "right/bright").rename(tmp_path / "right" / guess[0]["label"])
    outcome = cnn("eval", tmp_path / "right", "--ckpt", model, "--calibrate")
    rule = "--calibrate needs images of which the network gets some wrong and most right"
    got = "1.0000 of 1 images right"
    assert (outcome.code, outcome.err) == (4, f"cnn: {tmp_path}/right: {rule}. Got {got}.\n")
    assert model.read_bytes() == content


def test_scores_that_are_not_finite(
    cnn: Inside, model: Path, mixed: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(_: Engine, x: np.ndarray, params: object = None) -> np.ndarray:
        return np.full((len(x), 3), np.nan, np.float32)

    monkeypatch.setattr(Engine, "predict", predict)
    outcome = cnn("eval", mixed, "--ckpt", model, "--predictions", "p.csv", "--json")
    assert (outcome.code, json.loads(outcome.out)["top1"]) == (0, 0)
    rows = csv.DictReader(Path("p.csv").read_text().splitlines())
    assert {(row["label"], row["prob"]) for row in rows} == {("", "nan")}
    outcome = cnn("eval", mixed, "--ckpt", model, "--calibrate")
    rule = "--calibrate needs finite scores. Got a loss of nan."
    assert (outcome.code, outcome.out, outcome.err) == (4, "", f"cnn: {mixed}: {rule}\n")


@pytest.mark.parametrize("option", [("--tta", "hflip"), ("--split", "train")])
def test_what_does_not_go_with_calibrate(
    cnn: Inside, trained: Path, option: tuple[str, str]
) -> None:
    outcome = cnn("eval", "--ckpt", trained, "--calibrate", *option)
    rule = "uses the validation images, without --tta or another --split"
    assert (outcome.code, outcome.err) == (2, f"cnn: --calibrate: {rule}.\n")


def test_an_unknown_kind_of_tta(cnn: Inside) -> None:
    outcome = cnn("eval", "--ckpt", "m.npz", "--tta", "vflip")
    message = "cnn: --tta: must be none, hflip, multicrop or tencrop. Got 'vflip'.\n"
    assert (outcome.code, outcome.err) == (2, message)


@pytest.fixture
def run_folder(trained: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    return folder


def test_a_training_under_way_is_not_disturbed(cnn: Inside, run_folder: Path, mixed: Path) -> None:
    with RunFolder(run_folder):
        outcome = cnn("eval", mixed, "--ckpt", run_folder, "--calibrate")
    message = f"cnn: {run_folder}: another process is training into this run folder.\n"
    assert (outcome.code, outcome.err) == (7, message)
    assert "calibration" not in load_checkpoint(run_folder / "best.npz").meta
    assert cnn("eval", mixed, "--ckpt", run_folder, "--calibrate").code == 0
    assert "calibration" in load_checkpoint(run_folder / "best.npz").meta
    assert "calibration" not in load_checkpoint(run_folder / "last.npz").meta


def test_calibration_says_what_scores_it_has_no_memory_for(
    cnn: Inside, model: Path, mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cnn_cli import system
    from cnn_cli.inference import evaluate_files

    def check(need: int, place: object, rule: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(system, "available_memory", lambda: 26 * 3 * 4 - 1)
            system.check_memory(need, place, rule)

    before = model.read_bytes()
    monkeypatch.setattr(evaluate_files, "check_memory", check)
    outcome = cnn("eval", mixed, "--ckpt", model, "--calibrate")
    rule = "keeps the scores of all images, which need more memory than there is"
    assert outcome.err == f"cnn: --calibrate: {rule}. Got 312 B of 311 B.\n"
    assert (outcome.code, outcome.out) == (4, "")
    assert model.read_bytes() == before
    assert cnn("eval", mixed, "--ckpt", model).code == 0
