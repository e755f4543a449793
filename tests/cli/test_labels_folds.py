"""Several networks with several labels per image: folds, ensembles, averages, reports, doubtful
labels.
"""

from __future__ import annotations

import json
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest
from cli_program import Inside, csv_rows, kill_as_each_appears, process
from hardship import assert_same_run
from html_check import Page
from tagged import CLASSES

import cnn_cli
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.opening import open_classifier
from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint

FOLDS = ("--folds", 3, "--threads", 1, "--backend", "numpy")


@pytest.fixture(scope="session")
def folds(tagged: Path) -> Path:
    """The run of `cnn train tiny.yaml --folds 3`; read-only."""
    outcome = process("train", "tiny.yaml", *FOLDS, "--out", "folds", "--json", cwd=tagged)
    assert outcome.code == 0, outcome.err
    (tagged / "folds.json").write_text(outcome.out)
    return tagged / "folds"


def labels_of(text: str) -> set[str]:
    return set(text.split("|")) - {"none"}


def probabilities(cnn: Inside, tagged: Path, *ckpts: object) -> np.ndarray:
    options = [each for ckpt in ckpts for each in ("--ckpt", ckpt)]
    line = ("predict", tagged / "pictures", *options, "--probs", "--json", "--threads", 1)
    outcome = cnn(*line)
    assert (outcome.code, outcome.err) == (0, "")
    return np.array([[row["probs"][name] for name in CLASSES] for row in json.loads(outcome.out)])


def test_every_image_is_predicted_once(tagged: Path, folds: Path) -> None:
    rows = csv_rows(folds / "out_of_fold.csv")
    every = ("path", "fold", "true", "label", "prob", "error", *(f"prob:{c}" for c in CLASSES))
    assert tuple(rows[0]) == every
    known = {row["path"]: row["label"] for row in csv_rows(tagged / "tags.csv")}
    assert {Path(row["path"]).relative_to(tagged).as_posix() for row in rows} == set(known)
    assert len(rows) == len(known)
    for row in rows:
        name = Path(row["path"]).relative_to(tagged).as_posix()
        assert labels_of(row["true"]) == labels_of(known[name])
        given = [label for label in row["label"].split("|") if label != "none"]
        assert [float(each) for each in row["prob"].split("|") if each] == pytest.approx(
            [float(row[f"prob:{label}"]) for label in given], abs=1e-6
        )


def test_folds_have_the_labels_in_equal_shares(folds: Path) -> None:
    rows = csv_rows(folds / "out_of_fold.csv")
    counts = {
        name: [
            sum(name in labels_of(row["true"]) for row in rows if row["fold"] == number)
            for number in "123"
        ]
        for name in CLASSES
    }
    for name, of_folds in counts.items():
        assert max(of_folds) - min(of_folds) <= 2, name


def test_the_mean_and_deviation_of_every_metric(tagged: Path, folds: Path) -> None:
    document = json.loads((tagged / "folds.json").read_text())
    metrics = document["metrics"]
    assert list(metrics) == [
        *("top1", "loss", "macro_f1", "weighted_f1", "auc", "average_precision", "brier"),
        *("micro_f1", "subset_accuracy"),
    ]
    rows = csv_rows(folds / "out_of_fold.csv")
    right = [
        statistics.fmean(
            labels_of(row["true"]) == labels_of(row["label"]) for row in rows if row["fold"] == n
        )
        for n in "123"
    ]
    found = metrics["subset_accuracy"]
    assert found["mean"] == pytest.approx(statistics.fmean(right))
    assert found["std"] == pytest.approx(statistics.stdev(right))
    precisions = [each["val_average_precision"] for each in document["folds"]]
    mean = metrics["average_precision"]["mean"]
    assert mean == pytest.approx(statistics.fmean(precisions), abs=1e-6)


def test_text(cnn: Inside, tagged: Path, here: Path) -> None:
    line = ("train", tagged / "tiny.yaml", *FOLDS, "train.epochs=1", "--out", "a")
    outcome = cnn(*line, "--fail-under", "average_precision=0.1")
    assert outcome.code == 0
    header = "fold  images  best epoch  average_precision    loss  macro_f1\n"
    assert f"\n\n{header}" in outcome.out
    assert "\nsubset_accuracy    0." in outcome.out


def test_killed_and_resumed(tagged: Path, folds: Path, here: Path) -> None:
    line = ("train", tagged / "tiny.yaml", *FOLDS, "--out", "a", "--resume", "--quiet")
    kill_as_each_appears([f"a/fold-{number}/last.npz" for number in (1, 2, 3)], *line)
    assert process(*line, cwd=here).code == 0
    for number in (1, 2, 3):
        assert_same_run(folds / f"fold-{number}", here / f"a/fold-{number}")
    ours, whole = Path("a/out_of_fold.csv"), folds / "out_of_fold.csv"
    assert ours.read_bytes() == whole.read_bytes()


def test_probabilities_are_averaged(
    cnn: Inside, tagged: Path, tagged_run: Path, folds: Path
) -> None:
    apart = [probabilities(cnn, tagged, folds / f"fold-{number}") for number in (1, 2, 3)]
    together = probabilities(cnn, tagged, folds)
    np.testing.assert_allclose(together, np.mean(apart, axis=0), atol=1e-6)
    alone = probabilities(cnn, tagged, tagged_run)
    both = probabilities(cnn, tagged, folds, tagged_run)
    np.testing.assert_allclose(both, np.mean([*apart, alone], axis=0), atol=1e-6)
    thresholds = [Classifier.load(folds / f"fold-{number}").thresholds for number in (1, 2, 3)]
    ensemble = open_classifier([folds])
    np.testing.assert_allclose(ensemble.thresholds, np.mean(thresholds, axis=0))
    with cnn_cli.load(folds, threads=1) as model:
        files = sorted((tagged / "pictures").glob("*.png"))
        found = model.predict(files)
    assert all(one.labels is not None for one in found)
    for one, row in zip(found, together, strict=True):
        columns = CLASSES, row, ensemble.thresholds
        reached = {name for name, p, t in zip(*columns, strict=True) if p >= t}
        assert {name for name, _ in one.labels or ()} == reached


def test_eval_and_explain(
    cnn: Inside, tagged: Path, tagged_run: Path, folds: Path, tmp_path: Path
) -> None:
    line = ("eval", tagged / "tags.csv", "--split", "val", "--ckpt", folds, "--json")
    found = json.loads(cnn(*line).out)
    assert found["average_precision"] > 0.9
    assert found["temperature"] == 1
    assert cnn("eval", "--ckpt", folds).code == 2
    outcome = cnn(
        "explain", tagged / "pictures/2.png", "--ckpt", folds, "--output", tmp_path, "--json"
    )
    assert {each["label"] for each in json.loads(outcome.out)["images"]} == {"bottom", "left"}


def test_classes_in_another_order(cnn: Inside, tagged_run: Path, tmp_path: Path) -> None:
    """Reordering the last layer's rows does not change the predictions."""
    checkpoint, order = load_checkpoint(tagged_run / "best.npz"), [2, 0, 1]
    meta, model = checkpoint.meta, checkpoint.groups["model"]
    meta["classes"] = [meta["classes"][i] for i in order]
    labels = meta["several_labels"]
    labels["thresholds"] = [labels["thresholds"][i] for i in order]
    for name in ("layers.5/weight", "layers.5/bias"):
        model[name] = model[name][order]
    save_checkpoint(tmp_path / "other.npz", checkpoint)
    first, both = (
        open_classifier([tagged_run]),
        open_classifier([tagged_run, tmp_path / "other.npz"]),
    )
    np.testing.assert_allclose(both.thresholds, first.thresholds)
    x = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
    with first.scorer(1) as one, both.scorer(1) as two:
        expected = first.probabilities(one.predict(x).copy())
        np.testing.assert_allclose(both.probabilities(two.predict(x)), expected, rtol=1e-4)


def test_networks_of_one_label_and_of_several_do_not_go_together(
    cnn: Inside, tagged: Path, tagged_run: Path, trained: Path, tmp_path: Path
) -> None:
    other, own = trained / "best.npz", tagged_run / "best.npz"
    outcome = cnn("predict", tagged / "pictures", "--ckpt", own, "--ckpt", other)
    rule = f"must be of data.labels multiple, as {own}, which it is averaged with. Got single."
    assert (outcome.code, outcome.err) == (4, f"cnn: {other}: {rule}\n")
    outcome = cnn("average", other, own, "--output", tmp_path / "soup.npz")
    rule = f"must be of data.labels single, as {other}. Got multiple."
    assert (outcome.code, outcome.err) == (4, f"cnn: {own}: {rule}\n")
    outcome = cnn("report", other, own, "--output", tmp_path / "r.html")
    rule = f"must be of data.labels single, as {other}, to be compared. Got multiple."
    assert (outcome.code, outcome.err) == (4, f"cnn: {own}: {rule}\n")


def test_the_mean_of_weights(cnn: Inside, tagged: Path, tagged_run: Path, tmp_path: Path) -> None:
    soup = tmp_path / "soup.npz"
    checkpoint = load_checkpoint(tagged_run / "best.npz")
    checkpoint.meta["several_labels"]["thresholds"] = [0.1, 0.2, 0.3]
    save_checkpoint(tmp_path / "other.npz", checkpoint)
    outcome = cnn(
        "average", tagged_run, tmp_path / "other.npz", "--output", soup, "--backend", "numpy"
    )
    assert outcome.code == 0
    rule = "thresholds are the checkpoints' mean; cnn eval --calibrate chooses others"
    assert outcome.err == f"cnn: {rule}\n"
    own = Classifier.load(tagged_run).thresholds
    expected = np.mean([own, [0.1, 0.2, 0.3]], axis=0)
    np.testing.assert_allclose(Classifier.load(soup).thresholds, expected)
    assert json.loads(cnn("eval", "--ckpt", soup, "--json").out)["average_precision"] > 0.9


def test_reports_compare(
    cnn: Inside, tagged: Path, tagged_run: Path, folds: Path, tmp_path: Path
) -> None:
    file = tmp_path / "r.html"
    outcome = cnn("report", folds, tagged_run, "--output", file)
    assert (outcome.code, outcome.out) == (0, f"{file}: 4 runs\n")
    text = file.read_text(encoding="utf-8")
    assert Page(text).faults == []
    for words in ("all labels right", "average precision", "fold-3", "F1 score of each class"):
        assert words in text, words
    assert "top-1" not in text.lower().partition("curves")[0]
    outcome = cnn("report", folds, "--data", tagged / "tags.csv", "--output", file)
    assert (outcome.code, outcome.out) == (0, f"{file}: 3 runs, and their average\n")
    text = file.read_text(encoding="utf-8")
    assert Page(text).faults == []
    assert "folds: the mean of the probabilities of all its networks." in text
    found = json.loads(cnn("eval", tagged / "tags.csv", "--ckpt", folds, "--json").out)
    assert f"{found['average_precision']:.4f}" in text


@pytest.fixture
def planted(tagged: Path, here: Path) -> dict[str, str]:
    """The current folder: a copy of the images with wrong labels in the list; returns the right
    ones.
    """
    shutil.copytree(tagged / "pictures", here / "pictures")
    shutil.copy(tagged / "tiny.yaml", here / "tiny.yaml")
    rows = {row["path"]: row["label"] for row in csv_rows(tagged / "tags.csv")}
    right = {f"pictures/{i}.png": rows[f"pictures/{i}.png"] for i in (10, 31, 55)}
    for path, label in right.items():
        flipped = labels_of(label) ^ {"top"}
        rows[path] = "|".join(sorted(flipped)) or "none"
    table = "".join(f"{path},{label}\n" for path, label in rows.items())
    (here / "wrong.csv").write_text(f"path,label\n{table}")
    return right


def test_doubted_labels(cnn: Inside, planted: dict[str, str], here: Path) -> None:
    keys = ("data.root=wrong.csv", "train.epochs=12", "train.optimizer.lr=0.1")
    # With a few wrong labels, average precision may be best in an early epoch.
    line = ("data", "doubt", "tiny.yaml", *FOLDS, *keys, "train.monitor=loss")
    outcome = cnn(*line, "--out", "a", "--output", "d.csv", "--sheet", "d.png", "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert document["images"] == 84
    assert set(document["thresholds"]) == set(CLASSES)
    assert document["estimated_wrong"] > 1
    rows = {Path(row["path"]).relative_to(here).as_posix(): row for row in csv_rows(Path("d.csv"))}
    assert set(planted) <= set(rows)
    assert len(rows) < 20
    for path, label in planted.items():
        assert labels_of(rows[path]["suggested"]) == labels_of(label)
        assert labels_of(rows[path]["label"]) ^ labels_of(label) == {"top"}
        assert float(rows[path]["prob"]) == pytest.approx(1 - float(rows[path]["label_prob"]))
    probs = [float(row["label_prob"]) for row in rows.values()]
    assert probs == sorted(probs)
    again = cnn("data", "doubt", "a", "--output", "again.csv")
    assert again.code == 0
    assert Path("again.csv").read_bytes() == Path("d.csv").read_bytes()


def test_of_an_ordinary_run(cnn: Inside, tagged_run: Path) -> None:
    outcome = cnn("data", "doubt", tagged_run)
    assert outcome.code == 0
    assert "images   24\n" in outcome.out
