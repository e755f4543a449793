"""`cnn eval`: images, output and exit codes."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from cli_program import Inside
from PIL import Image

from cnn_cli.nn import backends as backend
from cnn_cli.nn.kernels.interface import Kernels
from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint

KEYS = ["loss", "top1", "topk", "k", "images", "bad_files", "top1_interval"]
KEYS += ["temperature", "tta", "top3", "macro_f1", "weighted_f1", "balanced_accuracy", "kappa"]
KEYS += ["mcc", "auc", "average_precision", "brier", "ece", "classes"]


def result(cnn: Inside, *arguments: object) -> dict[str, object]:
    outcome = cnn("eval", *arguments, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    document: dict[str, object] = json.loads(outcome.out)
    return document


def test_text(cnn: Inside, trained: Path) -> None:
    outcome = cnn("eval", "--ckpt", trained)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == "images     12"
    names = ["loss", "top-1", "top-3", "macro_f1", "kappa", "auc", "brier"]
    assert [line.split()[0] for line in lines[1:8]] == names
    assert re.fullmatch(r"kappa      [-\d.]+, mcc [-\d.]+, balanced_accuracy [\d.]+", lines[5])
    assert re.fullmatch(r"chosen by  validation top1 \d\.\d{4} in epoch [12]", lines[8])
    assert lines[9:12] == [
        "",
        "class   precision  recall      f1  specificity  support",
        "------  ---------  ------  ------  -----------  -------",
    ]
    assert [line.split()[0] for line in lines[12:]] == ["bright", "dark", "grey"]
    assert all(line.endswith("        4") for line in lines[12:])


def test_json(cnn: Inside, trained: Path) -> None:
    document = result(cnn, "--ckpt", trained)
    assert list(document) == KEYS
    assert (document["images"], document["bad_files"], document["k"]) == (12, 0, 3)
    assert document["topk"] == 1
    classes = document["classes"]
    assert isinstance(classes, dict)
    assert list(classes) == ["bright", "dark", "grey"]
    assert list(classes["dark"]) == ["precision", "recall", "f1", "specificity", "support"]
    assert document["top3"] == document["topk"]


def test_it_says_what_training_said(cnn: Inside, trained: Path) -> None:
    rows = load_checkpoint(trained / "last.npz").meta["state"]["rows"]
    document = result(cnn, "--ckpt", trained / "last.npz")
    assert document["top1"] == rows[-1]["val_top1"]
    assert document["loss"] == pytest.approx(rows[-1]["val_loss"], rel=1e-6)


def told(cnn: Inside, *arguments: object) -> str:
    outcome = cnn("eval", *arguments)
    assert outcome.code == 0
    return outcome.err


def test_images_that_the_network_was_trained_on_are_counted(
    cnn: Inside, trained: Path, project: Path, tmp_path: Path
) -> None:
    photos, mixed = project / "photos", tmp_path / "mixed"
    shutil.copytree(photos / "val", mixed)
    shutil.copy(photos / "train/dark/0.png", mixed / "dark/new-name.png")
    best, last = (f"cnn: {trained / name}: was trained on" for name in ("best.npz", "last.npz"))
    note = f"{best} 1 of the 13 images in {mixed}\n"
    assert told(cnn, mixed, "--ckpt", trained) == note
    assert told(cnn, mixed, "--ckpt", trained, "--not-worse-than", trained) == note
    both = ("--ckpt", trained / "last.npz", "--not-worse-than", trained)
    assert told(cnn, mixed, *both) == f"{last} 1 of the 13 images in {mixed}\n{note}"
    whole = f"{best} 24 of the 24 images in {photos / 'train'}\n"
    assert told(cnn, photos / "train", "--ckpt", trained) == whole
    assert told(cnn, photos, "--ckpt", trained) == ""
    assert told(cnn, photos, "--ckpt", trained, "--split", "train") == ""


def test_a_receipt_of_another_training_counts_no_images(
    cnn: Inside, trained: Path, project: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    lines = (run / "receipt.csv").read_text().splitlines(keepends=True)
    (run / "receipt.csv").write_text("".join(lines[:-1]))
    assert told(cnn, project / "photos/train", "--ckpt", run) == ""
    (run / "receipt.csv").unlink()
    assert told(cnn, project / "photos/train", "--ckpt", run) == ""
    (run / "receipt.csv").mkdir()
    rule = "must be a list of images, as cnn train writes it. Got a folder"
    note = f"cnn: {run / 'receipt.csv'}: {rule}.\n"
    assert told(cnn, project / "photos/train", "--ckpt", run) == note


@pytest.mark.parametrize(
    ("split", "images"), [("train", 24), ("val", 12), ("test", 6), ("all", 42)]
)
def test_splits_of_the_run_and_of_a_folder(
    cnn: Inside, trained: Path, project: Path, split: str, images: int
) -> None:
    own = result(cnn, "--ckpt", trained, "--split", split)
    given = result(cnn, project / "photos", "--ckpt", trained, "--split", split)
    assert own["images"] == images
    assert own["images"] == given["images"]
    assert own["top1"] == given["top1"]


def test_a_folder_without_splits_is_taken_whole(cnn: Inside, trained: Path, project: Path) -> None:
    for split in ("val", "test"):
        given = ("--ckpt", trained, "--split", split)
        assert result(cnn, project / "photos/test", *given)["images"] == 6


def test_topk_counts_at_most_all_classes(cnn: Inside, trained: Path) -> None:
    two = result(cnn, "--ckpt", trained, "--topk", 2)
    assert two["k"] == 2
    assert result(cnn, "--ckpt", trained, "--topk", 99)["k"] == 3
    assert result(cnn, "--ckpt", trained, "--topk", 1)["topk"] == two["top1"]


def test_threads_and_batches_do_not_matter(cnn: Inside, trained: Path) -> None:
    first = result(cnn, "--ckpt", trained, "--threads", 1, "-b", 5)
    second = result(cnn, "--ckpt", trained, "--threads", 3, "--batch-size", 100)
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-6)
    assert first["classes"] == second["classes"]


def test_files(cnn: Inside, trained: Path, tmp_path: Path) -> None:
    confusion, predictions = tmp_path / "c.csv", tmp_path / "p.csv"
    confusion.write_text("old")
    line = ["--ckpt", trained, "--confusion", confusion, "--predictions", predictions]
    document = result(cnn, *line)
    table = list(csv.reader(confusion.read_text().splitlines()))
    assert table[0] == ["true", "bright", "dark", "grey"]
    assert [row[0] for row in table[1:]] == ["bright", "dark", "grey"]
    correct = sum(int(table[i][i]) for i in (1, 2, 3))
    assert correct / 12 == document["top1"]
    assert sum(int(cell) for row in table[1:] for cell in row[1:]) == 12
    rows = list(csv.DictReader(predictions.read_text().splitlines()))
    assert list(rows[0]) == ["path", "true", "label", "prob", "error"]
    assert len(rows) == 12
    assert sum(row["true"] == row["label"] for row in rows) == correct
    assert rows[0]["path"].endswith("photos/val/bright/0.png")
    assert all(1 / 3 <= float(row["prob"]) <= 1 for row in rows)


def test_a_picture_of_the_confusion(cnn: Inside, trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result(cnn, "--ckpt", trained, "--confusion", tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as image:
        assert image.format == "PNG"


def test_a_picture_needs_an_extra(
    cnn: Inside, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnn_cli.cli.shared.evaluation_files.find_spec", lambda name: None)
    outcome = cnn("eval", "--ckpt", trained, "--confusion", tmp_path / "c.png")
    rule = "needs matplotlib for a .png; install it with pip install 'cnn-cli[report]'"
    assert (outcome.code, outcome.err) == (2, f"cnn: --confusion: {rule}.\n")


def test_bad_images_are_named_and_counted(
    cnn: Inside, trained: Path, project: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(project / "photos/val", photos)
    (photos / "bright/broken.png").write_bytes(b"no image")
    (photos / "grey/0.png").write_bytes((photos / "grey/1.png").read_bytes()[:60])
    predictions = tmp_path / "p.csv"
    outcome = cnn("eval", photos, "--ckpt", trained, "--json", "--predictions", predictions)
    assert outcome.code == 0
    assert outcome.err == (
        f"cnn: {photos}/bright/broken.png: not an image Pillow can read.\n"
        f"cnn: {photos}/grey/0.png: truncated or damaged.\n"
    )
    document = json.loads(outcome.out)
    assert (document["images"], document["bad_files"]) == (11, 2)
    rows = {row["path"]: row for row in csv.DictReader(predictions.read_text().splitlines())}
    assert len(rows) == 13
    assert rows[f"{photos}/grey/0.png"] == {
        "path": f"{photos}/grey/0.png",
        "true": "grey",
        "label": "",
        "prob": "",
        "error": "truncated or damaged",
    }
    text = cnn("eval", photos, "--ckpt", trained).out
    assert re.match(r"images +11\nbad files +2\nloss ", text)


def test_nothing_but_bad_images(cnn: Inside, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "bright").mkdir()
    (tmp_path / "bright/broken.png").write_bytes(b"no image")
    outcome = cnn("eval", tmp_path, "--ckpt", trained)
    last = f"cnn: {tmp_path}: must hold a readable image. Got 1 that cannot."
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err.splitlines()[-1] == last


def test_gates(cnn: Inside, trained: Path) -> None:
    document = result(cnn, "--ckpt", trained)
    loss, top1 = document["loss"], document["top1"]
    assert isinstance(loss, float)
    assert isinstance(top1, float)
    line = ["eval", "--ckpt", trained, "--json", "--fail-under"]
    for gate in (f"top1={top1}", "top3=1", "topk=1", f"loss={loss}"):
        assert cnn(*line, gate).code == 0
    outcome = cnn(*line, f"loss={loss / 2}", "--fail-under", "top3=1")
    message = f"loss must be at most {loss / 2}. Got {loss:.8g}."
    assert (outcome.code, outcome.err) == (6, f"cnn: --fail-under: {message}\n")
    assert json.loads(outcome.out) == document
    outcome = cnn(*line, "top1=1", "--topk", 1)
    if top1 < 1:
        message = f"top1 must be at least 1. Got {top1:.8g}."
        assert (outcome.code, outcome.err) == (6, f"cnn: --fail-under: {message}\n")


def test_a_class_the_model_does_not_know(cnn: Inside, trained: Path, tmp_path: Path) -> None:
    for name in ("bright", "brght"):
        (tmp_path / name).mkdir()
    outcome = cnn("eval", tmp_path, "--ckpt", trained)
    message = f"{tmp_path}/brght: must be a class that the model has. Did you mean 'bright'?"
    assert (outcome.code, outcome.err) == (4, f"cnn: {message}\n")


def test_a_split_that_is_not_there(cnn: Inside, trained: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(trained / "best.npz")
    checkpoint.meta["config"]["data"]["val_split"] = 0
    checkpoint.meta["config"]["data"]["root"] += "/train"
    save_checkpoint(tmp_path / "m.npz", checkpoint)
    outcome = cnn("eval", "--ckpt", tmp_path / "m.npz")
    root = checkpoint.meta["config"]["data"]["root"]
    message = f"{root}: must have images for --split val. Got train only."
    assert (outcome.code, outcome.err) == (4, f"cnn: {message}\n")
    checkpoint.meta["config"]["data"]["root"] = None
    save_checkpoint(tmp_path / "m.npz", checkpoint)
    outcome = cnn("eval", "--ckpt", tmp_path / "m.npz")
    message = "eval: needs DIR: the checkpoint does not say where its images are."
    assert (outcome.code, outcome.err) == (2, f"cnn: {message}\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be a checkpoint, an .npz file. Got an empty file."),
        (b"text", "must be a checkpoint, an .npz file. Got a file of another kind."),
    ],
)
def test_broken_checkpoints(cnn: Inside, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.npz"
    path.write_bytes(content)
    for command in ("eval", "predict x.png", "summary"):
        arguments = [*command.split(), *(["--ckpt"] if command != "summary" else []), path]
        outcome = cnn(*arguments)
        assert (outcome.code, outcome.out) == (4, "")
        assert outcome.err == f"cnn: {path}: {message}\n"


def test_a_truncated_checkpoint(cnn: Inside, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    path.write_bytes((trained / "best.npz").read_bytes()[:-500])
    outcome = cnn("eval", "--ckpt", path)
    assert outcome.code == 4
    assert outcome.err.startswith(f"cnn: {path}: is damaged or cut short")
    assert outcome.err.count("\n") == 1


def test_a_checkpoint_that_does_not_fit_its_config(
    cnn: Inside, trained: Path, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(trained / "best.npz")
    del checkpoint.groups["model"]["layers.4/bias"]
    save_checkpoint(tmp_path / "m.npz", checkpoint)
    outcome = cnn("eval", "--ckpt", tmp_path / "m.npz")
    message = "tensors do not match the network. Got missing layers.4/bias."
    assert (outcome.code, outcome.err) == (4, f"cnn: {tmp_path}/m.npz: {message}\n")


@pytest.mark.parametrize(
    ("option", "place", "reason"),
    [
        ("--confusion", "missing/c.csv", "no such folder"),
        ("--predictions", "folder.csv", "a folder"),
    ],
)
def test_outputs_are_checked_first(
    cnn: Inside, tmp_path: Path, option: str, place: str, reason: str
) -> None:
    (tmp_path / "folder.csv").mkdir()
    outcome = cnn("eval", "--ckpt", "nope", option, tmp_path / place)
    message = f"cnn: {tmp_path}/{place}: cannot be written. Got {reason}.\n"
    assert (outcome.code, outcome.err) == (4, message)


def test_the_backend_follows_from_the_number_of_images(
    cnn: Inside, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "load_backend", lambda name, **_: Kernels(f"asked for {name}"))
    monkeypatch.setattr(backend, "find_spec", lambda _: object())
    assert cnn("eval", "--ckpt", trained).err == "cnn: asked for numpy\n"
    monkeypatch.setattr(backend, "BULK", 12)
    assert cnn("eval", "--ckpt", trained).err == "cnn: asked for fast\n"
    assert cnn("eval", "--ckpt", trained, "--backend", "numpy").err == "cnn: asked for numpy\n"
