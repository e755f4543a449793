"""Ensembles of checkpoints, and runs of folds, in `predict`, `eval`, `explain` and `report`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_program import Inside, process
from PIL import Image

import cnn_cli

TRAIN = ("train", "tiny.yaml", "--quiet", "--threads", 1)


@pytest.fixture(scope="module")
def runs(project: Path) -> Path:
    """`folds`, a run of two folds, and `other`, with another seed; read-only."""
    for line in (
        ("train.seed=1", "train.epochs=1", "--out", "ensembles/other"),
        ("train.epochs=1", "--folds", 2, "--out", "ensembles/folds"),
    ):
        outcome = process(*TRAIN, *line, cwd=project)
        assert outcome.code == 0, outcome.err
    return project / "ensembles"


@pytest.fixture(autouse=True)
def _in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def probabilities(cnn: Inside, *ckpts: object) -> np.ndarray:
    options = [each for ckpt in ckpts for each in ("--ckpt", ckpt)]
    line = ("predict", "photos/test", *options, "--probs", "--json", "--threads", 1)
    outcome = cnn(*line)
    assert (outcome.code, outcome.err) == (0, "")
    return np.array([list(row["probs"].values()) for row in json.loads(outcome.out)])


def test_predict_averages(cnn: Inside, trained: Path, runs: Path) -> None:
    apart = [probabilities(cnn, ckpt) for ckpt in (trained, runs / "other")]
    together = probabilities(cnn, trained, runs / "other")
    np.testing.assert_allclose(together, np.mean(apart, axis=0), atol=1e-6)
    folds = [probabilities(cnn, runs / f"folds/fold-{number}") for number in (1, 2)]
    np.testing.assert_allclose(
        probabilities(cnn, runs / "folds"), np.mean(folds, axis=0), atol=1e-6
    )
    np.testing.assert_allclose(
        probabilities(cnn, runs / "folds", trained), np.mean([*folds, apart[0]], axis=0), atol=1e-6
    )


def test_from_python(cnn: Inside, trained: Path, runs: Path, picture: Path) -> None:
    for given in ([trained, runs / "other"], (str(runs / "folds"),), runs / "folds"):
        ckpts = given if isinstance(given, list | tuple) else [given]
        options = [each for ckpt in ckpts for each in ("--ckpt", ckpt)]
        (row,) = json.loads(cnn("predict", picture, *options, "--json", "--threads", 1).out)
        with cnn_cli.load(given, threads=1) as model:
            (found,) = model.predict(picture)
        assert (found.label, found.prob) == (row["label"], row["prob"])
    with pytest.raises(ValueError, match=r"path must be a checkpoint, or several\. Got none\."):
        cnn_cli.load([])


def test_eval_agrees_with_predict(cnn: Inside, trained: Path, runs: Path, tmp_path: Path) -> None:
    line = ("--ckpt", trained, "--ckpt", runs / "other", "--threads", 1)
    file = tmp_path / "p.csv"
    outcome = cnn("eval", "photos", "--split", "test", *line, "--json", "--predictions", file)
    assert (outcome.code, outcome.err) == (0, "")
    expected = probabilities(cnn, trained, runs / "other")
    rows = [row.split(",") for row in file.read_text().splitlines()[1:]]
    np.testing.assert_allclose([float(row[3]) for row in rows], expected.max(axis=1), atol=1e-6)
    labels = np.repeat([0, 1, 2], 2)
    loss = -np.log(expected[np.arange(6), labels]).mean()
    assert json.loads(outcome.out)["loss"] == pytest.approx(loss, rel=1e-5)
    assert cnn("eval", *line, "--split", "val", "--tta", "hflip").code == 0


def test_views_are_of_each_network(cnn: Inside, trained: Path) -> None:
    """An ensemble of one network twice equals that network, with views too."""
    outcomes = [
        json.loads(cnn("eval", *(["--ckpt", trained] * n), "--tta", "hflip", "--json").out)
        for n in (1, 2)
    ]
    assert outcomes[0]["loss"] == pytest.approx(outcomes[1]["loss"], rel=1e-5)


def test_images_that_one_was_trained_on(cnn: Inside, trained: Path, runs: Path) -> None:
    rule = "what one of the networks is validated on, others were trained on"
    outcome = cnn("eval", "--ckpt", runs / "folds")
    assert (outcome.code, outcome.err) == (2, f"cnn: eval: needs DIR: {rule}.\n")
    assert cnn("eval", "--ckpt", runs / "folds/fold-1", "--ckpt", trained).code == 2
    assert cnn("eval", "--ckpt", runs / "folds", "--split", "test").code == 0
    assert cnn("eval", "photos", "--ckpt", runs / "folds").code == 0


def test_gates_and_another_model(cnn: Inside, trained: Path, runs: Path) -> None:
    line = ("eval", "photos", "--split", "test", "--ckpt", runs / "folds", "--json")
    outcome = cnn(*line, "--not-worse-than", runs / "folds", "--fail-under", "top1=0")
    assert outcome.code == 0
    assert cnn(*line, "--not-worse-than", trained).code in (0, 6)


def test_one_checkpoint_is_calibrated(cnn: Inside, trained: Path, runs: Path) -> None:
    outcome = cnn("eval", "--ckpt", trained, "--ckpt", trained, "--calibrate")
    rule = "changes the checkpoint: needs a single --ckpt. Got 2."
    assert (outcome.code, outcome.err) == (2, f"cnn: --calibrate: {rule}\n")
    outcome = cnn("eval", "--ckpt", runs / "folds", "--calibrate")
    rule = f"changes one checkpoint: needs the folds one by one, --ckpt {runs}/folds/fold-1 first"
    got = f"the run of folds '{runs}/folds'"
    assert (outcome.code, outcome.err) == (2, f"cnn: --calibrate: {rule}. Got {got}.\n")


def test_a_run_of_folds_refuses(
    cnn: Inside, runs: Path, picture: Path, tmp_path: Path, project: Path
) -> None:
    """Each fold learns to, on its own images; then they refuse together."""
    run = tmp_path / "folds"
    shutil.copytree(runs / "folds", run)
    for number in (1, 2):
        fold = run / f"fold-{number}"
        outcome = cnn("eval", "--ckpt", fold, "--calibrate", "--reject", 0.1, "--threads", 1)
        assert outcome.code == 0, outcome.err
    stripes = np.tile(np.array([[0], [255]], np.uint8), (4, 8))
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    outcome = cnn("predict", tmp_path / "stripes.png", picture, "--ckpt", run, "--threads", 1)
    assert (outcome.code, outcome.err) == (0, "")
    refused = [row.split("\t")[1] == "unknown" for row in outcome.out.splitlines()]
    assert refused == [True, False]


def test_explain(cnn: Inside, trained: Path, runs: Path, picture: Path, tmp_path: Path) -> None:
    line = ("explain", picture, "--output", tmp_path, "--json", "--threads", 1)
    alone = json.loads(cnn(*line, "--ckpt", trained, "--class", "grey").out)["images"]
    pixels = np.asarray(Image.open(alone[0]["file"]))
    twice = json.loads(cnn(*line, *(["--ckpt", trained] * 2), "--class", "grey").out)["images"]
    assert twice == [alone[0] | {"prob": pytest.approx(alone[0]["prob"], abs=1e-6)}]
    off = np.abs(np.asarray(Image.open(twice[0]["file"])).astype(int) - pixels)
    assert off.max() <= 1
    (found,) = json.loads(cnn(*line, "--ckpt", runs / "folds").out)["images"]
    (row,) = json.loads(cnn("predict", picture, "--ckpt", runs / "folds", "--json").out)
    assert found["label"] == row["label"]
    assert found["prob"] == pytest.approx(row["prob"], abs=1e-6)


def test_a_report_of_folds_compares_them(cnn: Inside, runs: Path, tmp_path: Path) -> None:
    outcome = cnn("report", runs / "folds", "--output", tmp_path / "r.html")
    assert outcome.code == 0
    assert outcome.out == f"{tmp_path}/r.html: 2 runs\n"
    text = (tmp_path / "r.html").read_text()
    # As many images each, but others: no fold is the best of the two.
    assert "The runs were measured on different images" in text
    assert "fold-1: measured on 18 validation images of " in text
    assert "fold-2: measured on 18 validation images of " in text
    assert "F1 score of each class, lowest first, on different images" in text
    assert "<strong>" not in text


def test_folds_that_were_not_trained(
    cnn: Inside, runs: Path, picture: Path, tmp_path: Path
) -> None:
    run = tmp_path / "folds"
    shutil.copytree(runs / "folds", run)
    (run / "fold-2/best.npz").unlink()
    outcome = cnn("predict", picture, "--ckpt", run)
    rule = "must hold 2 folds that have been trained; --resume continues them"
    assert (outcome.code, outcome.err) == (4, f"cnn: {run}: {rule}. Got none in fold-2.\n")


def test_a_damaged_one_of_several(
    cnn: Inside, trained: Path, picture: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK")
    outcome = cnn("predict", picture, "--ckpt", trained, "--ckpt", tmp_path / "a.npz")
    rule = "must be a checkpoint, an .npz file. Got a file of another kind."
    assert (outcome.code, outcome.err) == (4, f"cnn: {tmp_path}/a.npz: {rule}\n")
    outcome = cnn("predict", picture)
    assert (outcome.code, outcome.err) == (2, "cnn: predict: needs --ckpt FILE. Got nothing.\n")
