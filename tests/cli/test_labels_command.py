"""Commands with several labels per image: output and errors."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_program import Inside
from html_check import Page
from PIL import Image
from tagged import CLASSES

import cnn_cli
from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture(autouse=True)
def _in_folder(tagged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tagged)


@pytest.fixture
def run(tagged_run: Path) -> Path:
    return tagged_run


def tags_of(folder: Path) -> dict[str, str]:
    with (folder / "tags.csv").open() as file:
        return {row["path"]: row["label"] for row in csv.DictReader(file)}


def sure(run: Path, path: Path, *thresholds: float) -> Path:
    """Return a copy of a run's checkpoint with other thresholds."""
    checkpoint = load_checkpoint(run / "best.npz")
    checkpoint.meta["several_labels"]["thresholds"] = list(thresholds)
    save_checkpoint(path, checkpoint)
    return path


def test_predict_text_and_csv(cnn: Inside, run: Path, tagged: Path, tmp_path: Path) -> None:
    text = cnn("predict", "pictures/0.png", "pictures/2.png", "pictures/7.png", "--ckpt", run)
    assert (text.code, text.err) == (0, "")
    rows = [line.split("\t") for line in text.out.splitlines()]
    assert [row[0] for row in rows] == [f"pictures/{i}.png" for i in (0, 2, 7)]
    assert [set(row[1].split("|")) for row in rows] == [{"bottom"}, {"bottom", "left"}, {"none"}]
    numbers = rows[1][2].split("|")
    assert len(numbers) == 2
    assert float(numbers[0]) >= float(numbers[1])
    assert rows[2][2] == ""
    answers = cnn("predict", "pictures", "--ckpt", run, "--format", "csv", "--probs")
    table = list(csv.DictReader(io.StringIO(answers.out)))
    assert list(table[0]) == ["path", "label", "prob", "error", *(f"prob:{c}" for c in CLASSES)]
    known = tags_of(tagged)
    same = [set(row["label"].split("|")) == set(known[row["path"]].split("|")) for row in table]
    assert np.mean(same) > 0.9
    # The predictions form a label list that can be trained on.
    Path(tagged / "answers.csv").write_text(answers.out)
    again = cnn("eval", "answers.csv", "--ckpt", run, "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["subset_accuracy"] == 1


def test_predict_json(cnn: Inside, run: Path) -> None:
    names = ("pictures/2.png", "pictures/7.png", "gone.png")
    outcome = cnn("predict", *names, "--ckpt", run, "--json")
    assert outcome.code == 4
    two, none, gone = json.loads(outcome.out)
    assert list(two) == ["path", "labels", "topk"]
    assert {each["label"] for each in two["labels"]} == {"bottom", "left"}
    assert two["labels"] == two["topk"][:2]
    assert none["labels"] == []
    assert len(none["topk"]) == 3
    assert list(gone) == ["path", "error"]


def test_thresholds_and_the_least_probability(cnn: Inside, run: Path, tmp_path: Path) -> None:
    low = sure(run, tmp_path / "low.npz", 0, 0, 1)
    outcome = cnn("predict", "pictures/7.png", "--ckpt", low)
    assert set(outcome.out.split("\t")[1].split("|")) == {"bottom", "left"}
    outcome = cnn("predict", "pictures/7.png", "--ckpt", low, "--min-prob", 0.999999)
    assert outcome.out == "pictures/7.png\tnone\t\n"


def test_the_python_interface(run: Path) -> None:
    with cnn_cli.load(run) as model:
        two, none = model.predict(["pictures/2.png", "pictures/7.png"])
    assert two.labels is not None
    assert {name for name, _ in two.labels} == {"bottom", "left"}
    assert two.labels == two.topk[:2]
    assert none.labels == ()
    assert none.label == none.topk[0][0]


def test_eval(cnn: Inside, run: Path, tmp_path: Path) -> None:
    outcome = cnn("eval", "--ckpt", run, "--predictions", tmp_path / "rows.csv")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["images", "24"]
    assert [line.split()[0] for line in lines if line][1:10] == [
        "loss",
        "top-1",
        "top-3",
        "average_precision",
        "macro_f1",
        "subset_accuracy",
        "brier",
        "chosen",
        "class",
    ]
    assert lines[-3].split()[0] == "bottom"
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "true", "label", "prob", "error"]
    assert len(rows) == 24
    document = json.loads(cnn("eval", "--ckpt", run, "--json").out)
    right = np.mean([set(r["true"].split("|")) == set(r["label"].split("|")) for r in rows])
    assert document["subset_accuracy"] == pytest.approx(right)
    assert list(document["classes"]["left"]) == [
        "precision",
        "recall",
        "f1",
        "specificity",
        "support",
        "average_precision",
        "threshold",
    ]
    assert {"loss", "top1", "topk", "k", "top3", "images", "bad_files", "micro_f1", "auc"} <= set(
        document
    )
    assert cnn("eval", "--ckpt", run, "--tta", "hflip", "--json").code == 0


def test_what_the_best_epoch_reached_is_what_eval_finds(cnn: Inside, run: Path) -> None:
    found = json.loads(cnn("eval", "--ckpt", run, "--json").out)
    meta = load_checkpoint(run / "best.npz").meta
    row = meta["state"]["rows"][meta["epoch"] - 1]
    for name in ("loss", "top1", "macro_f1", "average_precision", "subset_accuracy", "brier"):
        assert found[name] == pytest.approx(row[f"val_{name}"], rel=1e-5), name


def test_gates(cnn: Inside, run: Path) -> None:
    gates = ("average_precision=0.5", "micro_f1=0.5", "f1:left=0.5", "topk=0.5", "loss=5")
    options = [word for each in gates for word in ("--fail-under", each)]
    assert cnn("eval", "--ckpt", run, "--json", *options).code == 0
    failed = cnn("eval", "--ckpt", run, "--fail-under", "loss=0.000001")
    assert failed.code == 6
    wrong = cnn("eval", "--ckpt", run, "--fail-under", "kappa=0.5")
    assert (wrong.code, wrong.err) == (
        2,
        "cnn: --fail-under: kappa is not defined where data.labels is multiple.\n",
    )


def test_a_model_of_one_label_has_no_metrics_of_several(cnn: Inside, trained: Path) -> None:
    outcome = cnn("eval", "--ckpt", trained, "--fail-under", "micro_f1=0.5")
    assert (outcome.code, outcome.err) == (
        2,
        "cnn: --fail-under: micro_f1 is for data.labels multiple; of one label it is top1.\n",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--confusion", "a.png"],
            "--confusion: a .png is of images with one label; of several, a .csv has four counts a "
            "class. Got 'a.png'.",
        ),
        (
            ["--calibrate", "--reject", "0.05"],
            "--reject: is for images with one label; where there are several, one of no class has "
            "none.",
        ),
    ],
)
def test_eval_refuses_what_is_of_one_label(
    cnn: Inside, run: Path, options: list[str], message: str
) -> None:
    outcome = cnn("eval", "--ckpt", run, *options)
    assert (outcome.code, outcome.err) == (2, f"cnn: {message}\n")


def test_four_counts_of_each_class(cnn: Inside, run: Path, tmp_path: Path) -> None:
    file = tmp_path / "counts.csv"
    outcome = cnn("eval", "--ckpt", run, "--confusion", file, "--json")
    assert outcome.code == 0
    with file.open() as opened:
        rows = list(csv.DictReader(opened))
    negatives, positives = (
        ("true_negatives", "false_positives"),
        (
            "false_negatives",
            "true_positives",
        ),
    )
    assert list(rows[0]) == ["class", *negatives, *positives]
    for row in rows:
        counts = {key: int(row[key]) for key in (*negatives, *positives)}
        of = json.loads(outcome.out)["classes"][row["class"]]
        assert sum(counts.values()) == 24
        assert sum(counts[key] for key in positives) == of["support"]
        assert counts["true_positives"] / of["support"] == pytest.approx(of["recall"])
        real = sum(counts[key] for key in negatives)
        assert counts["true_negatives"] / real == pytest.approx(of["specificity"])


def test_the_images_of_largest_loss(cnn: Inside, run: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "worst.png"
    outcome = cnn("eval", "--ckpt", run, "--top-losses", 4, "--sheet", sheet)
    assert (outcome.code, outcome.err) == (0, "")
    with Image.open(sheet) as image:
        assert image.format == "PNG"


def noisy(run: Path, path: Path, scale: float = 1.0) -> Path:
    """Return a copy of a run's checkpoint with a worse and overconfident last layer."""
    checkpoint = load_checkpoint(run / "best.npz")
    rng = np.random.default_rng(0)
    for name in ("layers.5/weight", "layers.5/bias"):
        array = checkpoint.groups["model"][name]
        array *= 3
        array += scale * rng.standard_normal(array.shape).astype(array.dtype)
    save_checkpoint(path, checkpoint)
    return path


def test_calibrated(cnn: Inside, run: Path, tmp_path: Path) -> None:
    file = noisy(run, tmp_path / "m.npz")
    before = json.loads(cnn("eval", "--ckpt", file, "--json").out)
    outcome = cnn("eval", "--ckpt", file, "--calibrate", "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    change = found["calibration"]
    assert change["temperature"] == found["temperature"] != 1
    assert (change["loss_before"], change["loss_after"]) == (before["loss"], found["loss"])
    assert found["loss"] < before["loss"]
    assert (change["ece_before"], change["ece_after"]) == (None, None)
    assert found["average_precision"] == before["average_precision"]
    assert found["macro_f1"] >= before["macro_f1"]
    # The checkpoint stores both, and uses them from now on.
    again = json.loads(cnn("eval", "--ckpt", file, "--json").out)
    assert again == {key: value for key, value in found.items() if key != "calibration"}
    text = cnn("eval", "--ckpt", file).out
    assert f"temperature        {found['temperature']:.4f}\n" in text
    kept = load_checkpoint(file).meta["several_labels"]["thresholds"]
    assert kept == [each["threshold"] for each in found["classes"].values()]


def test_thresholds_where_no_temperature_is_best(cnn: Inside, run: Path, tmp_path: Path) -> None:
    """Of a network that is worse than guessing, here one whose last layer is negated."""
    checkpoint = load_checkpoint(run / "best.npz")
    for name in ("layers.5/weight", "layers.5/bias"):
        checkpoint.groups["model"][name] *= -1
    file = tmp_path / "m.npz"
    save_checkpoint(file, checkpoint)
    before = json.loads(cnn("eval", "--ckpt", file, "--json").out)
    outcome = cnn("eval", "--ckpt", file, "--calibrate", "--json")
    assert outcome.code == 0
    first, second = outcome.err.splitlines()
    right = f"{before['subset_accuracy']:.4f} of 24 images right"
    assert first == f"cnn: {file}: no temperature is best with {right}: it is 1"
    assert second == f"cnn: {file}: has temperature 1.0000 now"
    found = json.loads(outcome.out)
    assert found["calibration"]["loss_before"] == found["calibration"]["loss_after"]
    assert found["macro_f1"] > before["macro_f1"]
    kept = load_checkpoint(file).meta["several_labels"]["thresholds"]
    assert kept == [each["threshold"] for each in found["classes"].values()]
    assert kept != [each["threshold"] for each in before["classes"].values()]


@pytest.mark.parametrize("options", [(), ("--calibrate",)])
def test_a_class_without_a_column(
    cnn: Inside, run: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Otherwise no image would have it, and its threshold would be chosen by that."""
    marks = tmp_path / "marks.csv"
    row = f"{Path('pictures/0.png').resolve()},1,0"
    marks.write_text(f"path,bottom,lefd\n{row}\n")
    file = noisy(run, tmp_path / "m.npz")
    before = file.read_bytes()
    outcome = cnn("eval", marks, "--ckpt", file, *options)
    rule = "must have a column of 0 and 1 for each class. Did you mean 'lefd'?"
    said = f"cnn: {marks}:1: {rule} Got none for left, top.\n"
    assert (outcome.code, outcome.out, outcome.err) == (4, "", said)
    assert file.read_bytes() == before


def test_a_calibrated_network_is_exported(cnn: Inside, run: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    file = noisy(run, tmp_path / "m.npz")
    assert cnn("eval", "--ckpt", file, "--calibrate", "--json").code == 0
    line = ("export", "--ckpt", file, "--output", tmp_path / "m.onnx", "--json")
    assert json.loads(cnn(*line, "--check", "pictures").out)["difference"] < 1e-5
    found = json.loads(cnn(*line, "--int8", "--calibrate", "tags.csv", "--split", "val").out)
    loss = json.loads(cnn("eval", "--ckpt", file, "--json").out)["loss"]
    assert found["before"]["loss"] == pytest.approx(loss, rel=1e-3)
    assert found["after"]["loss"] == pytest.approx(loss, rel=0.2)


def test_another_model(cnn: Inside, run: Path, tmp_path: Path) -> None:
    bad = noisy(run, tmp_path / "bad.npz", scale=8)
    line = ("eval", "tags.csv", "--split", "all", "--predictions", tmp_path / "p.csv")
    outcome = cnn(*line, "--ckpt", run, "--not-worse-than", bad, "--json")
    assert outcome.code == 0, outcome.err
    (name,) = found = json.loads(outcome.out)["not_worse_than"]["metrics"]
    assert (name, found["average_precision"]["worse"]) == ("average_precision", False)
    assert found["average_precision"]["interval"][0] > 0
    with (tmp_path / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-3:] == ["other_label", "other_prob", "change"]
    sets = [[set(row[key].split("|")) for key in ("true", "label", "other_label")] for row in rows]
    for row, (true, now, before) in zip(rows, sets, strict=True):
        expected = "better" if now == true else "worse" if before == true else "other"
        assert row["change"] == ("" if now == before else expected)
    outcome = cnn(*line, "--ckpt", bad, "--not-worse-than", run)
    assert outcome.code == 6
    rule = f"--not-worse-than: average_precision must not be worse than that of {run}. Got "
    assert outcome.err.startswith(f"cnn: {rule}")
    gates = ("--fail-under", "subset_accuracy=0", "--fail-under", "f1:left=0")
    outcome = cnn(*line, "--ckpt", bad, "--not-worse-than", run, *gates, "--json")
    metrics = json.loads(outcome.out)["not_worse_than"]["metrics"]
    assert list(metrics) == ["average_precision", "subset_accuracy", "f1:left"]
    exact = metrics["subset_accuracy"]
    changes = [row["change"] for row in rows]  # with the models exchanged
    assert (exact["only_new"], exact["only_other"]) == (
        changes.count("worse"),
        changes.count("better"),
    )
    assert exact["p"] < 0.05


def test_images_without_labels_compare_nothing(cnn: Inside, run: Path, tmp_path: Path) -> None:
    images = tmp_path / "none.csv"
    images.write_text(f"path,label\n{Path('pictures/0.png').resolve()},none\n")
    outcome = cnn("eval", images, "--ckpt", run, "--not-worse-than", run)
    line = f"average_precision –, {run} –; not comparable: it is not defined for these images"
    rule = f"average_precision must not be worse than that of {run}. Got {line}."
    note = f"cnn: {run / 'best.npz'}: was trained on 1 of the 1 images in {images}\n"
    assert (outcome.code, outcome.err) == (6, f"{note}cnn: --not-worse-than: {rule}\n")
    assert outcome.out.splitlines()[-1] == line


def test_models_of_one_label_and_of_several_are_not_compared(
    cnn: Inside, run: Path, trained: Path
) -> None:
    outcome = cnn("eval", "--ckpt", run, "--not-worse-than", trained)
    rule = f"{trained}: must be of data.labels multiple, as --ckpt is. Got single."
    assert (outcome.code, outcome.err) == (4, f"cnn: {rule}\n")


def test_pictures_of_several_labels_are_not_sorted(cnn: Inside, run: Path, tmp_path: Path) -> None:
    outcome = cnn("predict", "pictures", "--ckpt", run, "--sort-into", tmp_path / "sorted")
    rule = "needs a model with one label per image"
    expected = f"cnn: --sort-into: {rule}. Got {run / 'best.npz'}.\n"
    assert (outcome.code, outcome.err) == (2, expected)
    assert not (tmp_path / "sorted").exists()


def test_a_checkpoint_must_have_its_thresholds(cnn: Inside, run: Path, tmp_path: Path) -> None:
    rule = "meta.several_labels must be a mapping with a separator and a threshold from 0 to 1"
    for thresholds in ([0.5, 0.5], [0.5, 0.5, 1.5]):
        bad = sure(run, tmp_path / "bad.npz", *thresholds)
        outcome = cnn("predict", "pictures/0.png", "--ckpt", bad)
        assert (outcome.code, outcome.err) == (4, f"cnn: {bad}: {rule} a class.\n")


def test_report(cnn: Inside, run: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    outcome = cnn("report", run, "--output", file)
    value = json.loads(cnn("eval", "--ckpt", run, "--json").out)["average_precision"]
    said = f"{file}: average precision {value:.4f} on 24 images\n"
    assert (outcome.code, outcome.out, outcome.err) == (0, said, "")
    text = file.read_text(encoding="utf-8")
    assert Page(text).faults == []
    for words in ("(mAP)", "All labels right", "threshold", "ROC: recall over", "largest loss"):
        assert words in text, words
    for words in ("Confusion", "Calibration"):
        assert f">{words}<" not in text
    # Labels, then predicted labels; a path of a list is relative to the list.
    assert re.search(r"<strong>[a-z, ]+</strong>, predicted [a-z, ]+; [a-z]+ [01]\.\d{4}</p>", text)
    assert re.search(r'<p class="note">pictures/\d+\.png</p>', text)
    listed = cnn("report", run, "--data", "tags.csv", "--split", "train", "--output", file)
    assert listed.out.endswith(" on 60 images\n"), listed.err
    gone = tmp_path / "gone"
    shutil.copytree(run, gone)
    checkpoint = load_checkpoint(gone / "best.npz")
    checkpoint.meta["config"]["data"]["root"] = str(tmp_path / "no.csv")
    save_checkpoint(gone / "best.npz", checkpoint)
    outcome = cnn("report", gone, "--output", file)
    assert outcome.code == 0
    assert "without scores" in outcome.out


def test_explain_each_label(cnn: Inside, run: Path, tmp_path: Path) -> None:
    names = ("pictures/2.png", "gone.png", "pictures/7.png", "pictures/1.png")
    outcome = cnn("explain", *names, "--ckpt", run, "--output", tmp_path / "maps", "--json")
    assert outcome.code == 4
    found = json.loads(outcome.out)["images"]
    assert [each["path"] for each in found] == [names[0], *names]
    assert {each["label"] for each in found[:2]} == {"bottom", "left"}
    assert found[0]["prob"] > found[1]["prob"]
    assert "error" in found[2]
    assert found[3]["prob"] < 0.5  # it has no label, so the most probable class is explained
    assert found[4]["label"] == "left"
    assert all(Path(each["file"]).exists() for each in found if "file" in each)
    one = cnn("explain", names[0], "--ckpt", run, "--output", tmp_path / "one", "--class", "top")
    assert [line.split("\t")[1] for line in one.out.splitlines()] == ["top"]
    # A class is explained in the same way whether requested or predicted.
    left = cnn("explain", names[0], "--ckpt", run, "--output", tmp_path / "two", "--class", "left")
    assert left.code == 0
    maps = [tmp_path / folder / "2-left.png" for folder in ("maps", "two")]
    assert maps[0].read_bytes() == maps[1].read_bytes()


def test_export_gives_probabilities(cnn: Inside, run: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    for number, options in enumerate(([], ["--preprocessing", "--fold"])):
        file = tmp_path / f"{number}.onnx"
        outcome = cnn(
            "export", "--ckpt", run, "--output", file, "--check", "pictures", "--json", *options
        )
        assert outcome.code == 0, outcome.err
        assert json.loads(outcome.out)["difference"] < 1e-5
        model = onnx.load(file)
        assert [each.name for each in model.graph.output] == ["probabilities"]
        assert model.graph.node[-1].op_type == "Sigmoid"
        told = {each.key: each.value for each in model.metadata_props}
        kept = load_checkpoint(run / "best.npz").meta["several_labels"]
        assert json.loads(told["thresholds"]) == kept["thresholds"]
        assert told["label_sep"] == kept["separator"]
        assert json.loads(told["classes"]) == list(CLASSES)


def test_export_of_weights(cnn: Inside, run: Path, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    assert cnn("export", "--ckpt", run, "--output", tmp_path / "w.safetensors").code == 0


def test_features_and_layers_have_nothing_to_do_with_labels(
    cnn: Inside, run: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index.npz"
    assert cnn("embed", "pictures", "--ckpt", run, "--output", index).code == 0
    similar = cnn("similar", "pictures/0.png", "--index", index, "--topk", 2)
    assert similar.code == 0
    assert similar.out.splitlines()[0].startswith("pictures/0.png\t")
    assert cnn("summary", run / "best.npz").code == 0


def test_summary_and_dry_run_know_the_classes(cnn: Inside, tmp_path: Path) -> None:
    outcome = cnn("summary", "tiny.yaml")
    assert outcome.code == 0, outcome.err
    assert "3" in outcome.out
    outcome = cnn("train", "tiny.yaml", "--dry-run")
    assert outcome.code == 0, outcome.err
    assert "60" in outcome.out
