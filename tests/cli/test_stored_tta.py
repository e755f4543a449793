"""`augment.tta` of a checkpoint, in every command that predicts with it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_program import Inside, process
from PIL import Image

import cnn_cli
from cnn_cli.cli.shared import options
from cnn_cli.data.views import TTA
from cnn_cli.inference.classifier import ONE_VIEW, Classifier
from cnn_cli.inference.rejecting import RejectingScorer, open_rejecting
from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint

TRAIN = ("train", "tiny.yaml", "--quiet", "--threads", 1, "train.epochs=1")


@pytest.fixture(scope="module")
def run(project: Path) -> Path:
    """A run with `augment.tta: multicrop`; read-only."""
    line = (*TRAIN, "augment.tta=multicrop", "--out", "tta/run")
    outcome = process(*line, cwd=project)
    assert (outcome.code, outcome.err) == (0, "")
    return project / "tta/run"


@pytest.fixture(autouse=True)
def _in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def evaluated(cnn: Inside, *line: object) -> dict[str, Any]:
    outcome = cnn("eval", *line, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    document: dict[str, Any] = json.loads(outcome.out)
    return document


def predicted(cnn: Inside, *line: object, stdin: bytes = b"") -> np.ndarray:
    outcome = cnn("predict", *line, "--probs", "--format", "jsonl", stdin=stdin)
    assert (outcome.code, outcome.err) == (0, "")
    rows = [json.loads(text) for text in outcome.out.splitlines()]
    return np.array([list(row["probs"].values()) for row in rows])


def with_tta(source: Path, target: Path, tta: str | None) -> Path:
    checkpoint = load_checkpoint(source)
    checkpoint.meta["config"]["augment"]["tta"] = tta
    save_checkpoint(target, checkpoint)
    return target


def test_eval_says_which_and_from_where(cnn: Inside, run: Path, trained: Path) -> None:
    def lines(*line: object) -> list[str]:
        out = cnn("eval", "--ckpt", *line).out
        return [text for text in out.splitlines() if text.startswith("tta")]

    (stored,) = lines(run)
    assert stored.split(maxsplit=1) == ["tta", "multicrop, from the checkpoint"]
    (given,) = lines(run, "--tta", "hflip")
    assert given.split(maxsplit=1) == ["tta", "hflip"]
    assert lines(run, "--tta", "none") == lines(trained) == []
    (mixed,) = lines(run, "--ckpt", trained)
    assert mixed.split(maxsplit=1) == ["tta", "multicrop, none, from the checkpoint"]
    assert evaluated(cnn, "--ckpt", run)["tta"] == "multicrop"
    assert evaluated(cnn, "--ckpt", run, "--tta", "none")["tta"] is None


def test_eval_uses_it_unless_told_otherwise(
    cnn: Inside, run: Path, trained: Path, tmp_path: Path
) -> None:
    plain = with_tta(run / "best.npz", tmp_path / "plain.npz", None)
    stored = evaluated(cnn, "--ckpt", run)
    assert stored == evaluated(cnn, "--ckpt", plain, "--tta", "multicrop")
    assert stored["loss"] != evaluated(cnn, "--ckpt", plain)["loss"]
    assert evaluated(cnn, "--ckpt", run, "--tta", "none") == evaluated(cnn, "--ckpt", plain)
    with (run / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert stored["loss"] == pytest.approx(float(row["val_loss"]), rel=1e-5)
    assert stored["top1"] == pytest.approx(float(row["val_top1"]))


def test_all_ways_of_predicting_agree(cnn: Inside, run: Path, tmp_path: Path) -> None:
    photos = sorted(Path("photos/test").rglob("*.png"))
    listed = "".join(f"{path}\n" for path in photos).encode()
    in_bulk = predicted(cnn, "photos/test", "--ckpt", run)
    piped = predicted(cnn, "--from-file", "-", "--ckpt", run, stdin=listed)
    np.testing.assert_array_equal(piped, in_bulk)
    one = predicted(cnn, photos[0], "--ckpt", run)
    np.testing.assert_allclose(one, in_bulk[:1], atol=1e-7)
    with cnn_cli.load(run, threads=1) as model:
        found = [dict(each.topk) for each in model.predict(photos)]
        names = model.classes
    said = np.array([[each[name] for name in names] for each in found])
    np.testing.assert_allclose(said, in_bulk, atol=1e-7)
    table = tmp_path / "said.csv"
    evaluated(cnn, "photos", "--split", "test", "--ckpt", run, "--predictions", table)
    with table.open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    for path, probs in zip(photos, in_bulk, strict=True):
        row = rows[str(path)]
        assert row["label"] == names[int(probs.argmax())]
        assert float(row["prob"]) == pytest.approx(probs.max(), abs=2e-6)
    others = predicted(cnn, "photos/test", "--ckpt", run, "--tta", "none")
    assert np.abs(others - in_bulk).max() > 1e-5


@pytest.mark.parametrize("kind", ["hflip", "multicrop", "tencrop"])
def test_predict_takes_another_kind(
    cnn: Inside, run: Path, tmp_path: Path, picture: Path, kind: str
) -> None:
    stored = with_tta(run / "best.npz", tmp_path / "m.npz", kind)
    plain = with_tta(run / "best.npz", tmp_path / "plain.npz", None)
    given = predicted(cnn, picture, "--ckpt", plain, "--tta", kind)
    np.testing.assert_array_equal(given, predicted(cnn, picture, "--ckpt", stored))
    one = predicted(cnn, picture, "--ckpt", stored, "--tta", "none")
    np.testing.assert_array_equal(one, predicted(cnn, picture, "--ckpt", plain))


def test_the_option_has_the_kinds_of_the_views() -> None:
    """It cannot import them: `predict` with one view does without."""
    assert (ONE_VIEW, *TTA) == options.TTA


def test_an_unknown_kind_for_predict(cnn: Inside, picture: Path) -> None:
    outcome = cnn("predict", picture, "--ckpt", "m.npz", "--tta", "all")
    rule = "must be none, hflip, multicrop or tencrop"
    assert (outcome.code, outcome.err) == (2, f"cnn: --tta: {rule}. Got 'all'.\n")


def test_a_checkpoint_with_an_unknown_kind(
    cnn: Inside, run: Path, tmp_path: Path, picture: Path
) -> None:
    wrong = with_tta(run / "best.npz", tmp_path / "m.npz", "vflip")
    rule = "meta.config.augment.tta must be none, hflip, multicrop or tencrop"
    for line in (("predict", picture), ("eval",)):
        outcome = cnn(*line, "--ckpt", wrong)
        assert (outcome.code, outcome.err) == (4, f"cnn: {wrong}: {rule}.\n")


def test_calibration_keeps_the_views(cnn: Inside, run: Path, tmp_path: Path) -> None:
    """The temperature fits the averaged scores, which `predict` divides by it."""
    mixed = Path(shutil.copytree("photos/train", tmp_path / "mixed"))
    shutil.copy(mixed / "dark/0.png", mixed / "bright/wrong.png")
    shutil.copy(mixed / "bright/0.png", mixed / "grey/wrong.png")
    model = Path(shutil.copy(run / "best.npz", tmp_path / "m.npz"))
    plain = with_tta(model, tmp_path / "plain.npz", None)
    temperatures = []
    for path in (model, plain):
        outcome = cnn("eval", mixed, "--ckpt", path, "--calibrate", "--json")
        assert outcome.code == 0
        temperatures.append(json.loads(outcome.out)["temperature"])
    assert temperatures[0] != temperatures[1]
    after = evaluated(cnn, mixed, "--ckpt", model)
    assert (after["tta"], after["temperature"]) == ("multicrop", temperatures[0])
    assert load_checkpoint(model).meta["config"]["augment"]["tta"] == "multicrop"
    changed = with_tta(model, tmp_path / "changed.npz", None)
    given = evaluated(cnn, mixed, "--ckpt", changed, "--tta", "multicrop")
    assert given["loss"] == after["loss"]


def test_rejection_looks_at_all_views(cnn: Inside, run: Path, tmp_path: Path) -> None:
    """With mirror images, an image and its mirror image are equally far from a class."""
    trees = [Path(shutil.copytree("photos", tmp_path / name)) for name in ("plain", "mirrored")]
    for tree in trees:
        shutil.copy(tree / "val/dark/0.png", tree / "val/bright/wrong.png")
    for file in trees[1].rglob("*.png"):
        with Image.open(file) as image:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file)
    scorers = []
    for tree in trees:
        model = with_tta(run / "best.npz", tree / "m.npz", "hflip")
        line = ("eval", tree, "--ckpt", model, "--calibrate", "--reject", 0.2)
        assert cnn(*line).code == 0
        scorers.append(open_rejecting(Classifier.load(model), 1, "numpy", print))
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)
    distances = []
    for scorer in scorers:
        with scorer:
            for images in (pixels, pixels[:, :, ::-1]):
                scorer.predict(images)
                assert isinstance(scorer, RejectingScorer)
                distances.append(scorer.distances)
    for each in distances[1:]:
        np.testing.assert_allclose(each, distances[0], rtol=1e-3)


def test_an_ensemble_averages_what_each_predicts(cnn: Inside, run: Path, trained: Path) -> None:
    apart = [predicted(cnn, "photos/test", "--ckpt", each) for each in (run, trained)]
    together = predicted(cnn, "photos/test", "--ckpt", run, "--ckpt", trained)
    np.testing.assert_allclose(together, np.mean(apart, axis=0), atol=1e-6)


def test_networks_compared_each_with_its_own(cnn: Inside, run: Path, tmp_path: Path) -> None:
    plain = with_tta(run / "best.npz", tmp_path / "plain.npz", None)
    found = evaluated(cnn, "--ckpt", run, "--not-worse-than", plain, "--fail-under", "loss=9")
    loss = found["not_worse_than"]["metrics"]["loss"]
    assert loss["new"] == found["loss"]
    assert loss["other"] == evaluated(cnn, "--ckpt", plain)["loss"]


def test_each_fold_is_predicted_with_its_views(cnn: Inside, tmp_path: Path) -> None:
    out = tmp_path / "folds"
    line = (*TRAIN, "augment.tta=hflip", "--folds", 2, "--out", out)
    assert cnn(*line).code == 0
    with (out / "out_of_fold.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["fold"] == "2"]
    paths = [row["path"] for row in rows]
    said = predicted(cnn, *paths, "--ckpt", out / "fold-2").max(axis=1)
    np.testing.assert_allclose([float(row["prob"]) for row in rows], said, atol=2e-6)
    other = predicted(cnn, *paths, "--ckpt", out / "fold-2", "--tta", "none").max(axis=1)
    assert np.abs(said - other).max() > 1e-5
    assert cnn("data", "doubt", out, "--output", tmp_path / "doubt.csv").code == 0


def test_the_report_names_it(cnn: Inside, run: Path, tmp_path: Path) -> None:
    assert cnn("report", run, "--output", tmp_path / "r.html").code == 0
    assert "Test-time augmentation: multicrop." in (tmp_path / "r.html").read_text()


def test_export_says_that_it_is_left_out(cnn: Inside, run: Path, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    outcome = cnn("export", "--ckpt", run, "--output", tmp_path / "m.safetensors")
    rule = "has augment.tta multicrop, which is not exported: the file scores one view"
    assert (outcome.code, outcome.err) == (0, f"cnn: {run}/best.npz: {rule}\n")


def test_explain_and_embed_look_at_one_view(
    cnn: Inside, run: Path, tmp_path: Path, picture: Path
) -> None:
    tencrop = with_tta(run / "best.npz", tmp_path / "m.npz", "tencrop")
    one = predicted(cnn, picture, "--ckpt", tencrop, "--tta", "none")
    line = ("explain", picture, "--ckpt", tencrop, "--output", tmp_path / "why", "--json")
    (found,) = json.loads(cnn(*line).out)["images"]
    assert found["prob"] == pytest.approx(one.max(), abs=1e-6)
    index = tmp_path / "index.npz"
    assert cnn("embed", "photos/test", "--ckpt", run, "--output", index).code == 0
    outcome = cnn("similar", picture, "--index", index, "--ckpt", tencrop)
    assert outcome.code == 0
    assert outcome.out.splitlines()[0] == "photos/test/bright/0.png\t1.000000"


def test_an_average_keeps_the_first_ones(
    cnn: Inside, run: Path, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mean.npz"
    outcome = cnn("average", run, trained, "--output", out, "--threads", 1)
    assert outcome.code == 0
    note = f"{trained}/best.npz has another augment.tta; that of {run}/best.npz is kept"
    assert note in outcome.out + outcome.err
    assert load_checkpoint(out).meta["config"]["augment"]["tta"] == "multicrop"


def test_the_config_refuses_other_words(cnn: Inside) -> None:
    outcome = cnn("train", "tiny.yaml", "augment.tta=vflip", "--dry-run")
    rule = "augment.tta: must be none, hflip, multicrop or tencrop. Got 'vflip'."
    assert outcome.code == 3
    assert outcome.err.endswith(f"{rule}\n")
