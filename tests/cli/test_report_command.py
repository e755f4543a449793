"""`cnn report`: content, missing parts and exit codes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_program import Inside, process
from html_check import Page

from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint

MEASURED = ["Confusion", "Classes", "Thresholds", "Calibration", "Images"]
SECTIONS = ["Result", "Curves", *MEASURED, "First filters", "Layers", "Config", "Environment"]


def page_of(file: Path) -> Page:
    page = Page(file.read_text(encoding="utf-8"))
    assert page.faults == []
    return page


def sections(page: Page) -> list[str]:
    return [text for level, text in page.headings if level == 2]


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run folder that tests may change."""
    return Path(shutil.copytree(trained, tmp_path / "tiny"))


def test_one_run(cnn: Inside, run: Path) -> None:
    outcome = cnn("report", run)
    scores = cnn("eval", "--ckpt", run).out
    file = run / "report.html"
    top1 = scores.split("top-1")[1].split(",")[0].strip()
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"{file}: top-1 {top1} on 12 images\n"
    page = page_of(file)
    assert sections(page) == SECTIONS
    assert page.headings[0] == (1, "tiny")
    interval = scores.split("confidence ")[1].split("\n")[0]
    assert f"95 % confidence: {interval}" in page.text
    assert page.elements["svg"] >= 6
    assert "ROC: recall over the false positive rate" in page.text
    auc = scores.split("auc")[1].split(",")[0].strip()
    assert f"ROC AUC{auc}" in page.text
    assert file.stat().st_size < 200_000
    for image in page.images:
        assert image["src"].startswith(("data:image/png;base64,", "data:image/jpeg;base64,"))
    # Each image beside its heat map, and the filters.
    assert len(page.images) == 12 * 2 + 1
    assert "Grad-CAM of layers.2 (relu)" in page.text
    assert "kernel_size:" in page.text


def test_an_output_of_another_name(cnn: Inside, trained: Path, tmp_path: Path) -> None:
    outcome = cnn("report", trained / "last.npz", "--output", tmp_path / "a.html")
    assert (outcome.code, outcome.out.split(":")[0]) == (0, str(tmp_path / "a.html"))
    assert sections(page_of(tmp_path / "a.html")) == SECTIONS


def test_a_checkpoint_alone_has_its_page_here(
    cnn: Inside, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cnn("report", trained / "best.npz").code == 0
    page = page_of(tmp_path / "report.html")
    assert page.headings[0] == (1, "best.npz")
    assert "unfinished" not in page.text


def test_which_rule_chose_the_epoch(cnn: Inside, run: Path, project: Path, tmp_path: Path) -> None:
    cnn("report", run)
    text = page_of(run / "report.html").text
    assert "best: epoch" in text
    assert "Bestepoch" in text
    other = tmp_path / "other"
    assert cnn("train", project / "tiny.yaml", "train.keep=last", "--out", other).code == 0
    assert "chosen by  train.keep=last, epoch " in cnn("eval", "--ckpt", other).out
    cnn("report", other)
    text = page_of(other / "report.html").text
    assert "best: epoch" not in text
    assert "Keptlast epoch" in text


def test_another_part(cnn: Inside, run: Path) -> None:
    assert cnn("report", run, "--split", "test").out.endswith(" on 6 images\n")
    assert "On 6 test images of " in page_of(run / "report.html").text


def test_another_folder(cnn: Inside, run: Path, project: Path) -> None:
    folder = project / "photos/test"
    assert cnn("report", run, "--data", folder).out.endswith(" on 6 images\n")
    assert f"On 6 images of {folder}" in page_of(run / "report.html").text


def test_training_images_in_another_folder_are_counted(
    cnn: Inside, run: Path, project: Path
) -> None:
    folder = project / "photos/train"
    note = f"cnn: {run / 'best.npz'}: was trained on 24 of the 24 images in {folder}\n"
    assert cnn("report", run, "--data", folder).err == note
    assert cnn("report", run, "--data", project / "photos", "--split", "all").err == ""


def test_images_that_cannot_be_read(cnn: Inside, run: Path, project: Path, tmp_path: Path) -> None:
    photos = Path(shutil.copytree(project / "photos/test", tmp_path / "photos"))
    broken = photos / "dark/broken.png"
    broken.write_bytes(b"no image")
    outcome = cnn("report", run, "--data", photos)
    assert (outcome.code, outcome.err) == (0, f"cnn: {broken}: not an image Pillow can read.\n")
    assert "; 1 more could not be read" in page_of(run / "report.html").text
    for file in photos.rglob("*.png"):
        file.write_bytes(b"no image")
    outcome = cnn("report", run, "--data", photos)
    message = f"cnn: {photos}: must hold a readable image. Got 7 that cannot.\n"
    assert (outcome.code, outcome.err.splitlines(keepends=True)[-1]) == (4, message)


def test_hostile_names_are_text(cnn: Inside, run: Path, project: Path, tmp_path: Path) -> None:
    name = "<script>&\"'\x07"
    checkpoint = load_checkpoint(run / "best.npz")
    checkpoint.meta["classes"][0] = name
    save_checkpoint(tmp_path / "m.npz", checkpoint)
    photos = tmp_path / "<b>"
    shutil.copytree(project / "photos/val", photos)
    (photos / "bright").rename(photos / name)
    file = tmp_path / "a.html"
    assert cnn("report", tmp_path / "m.npz", "--data", photos, "--output", file).code == 0
    page = page_of(file)
    assert "<script>&\"'\\x07" in page.text
    assert str(photos) in page.text
    assert "script" not in page.elements
    assert any("<script>&\"'\\x07" in image["alt"] for image in page.images)


def test_without_validation_images(project: Path, tmp_path: Path, cnn: Inside) -> None:
    out = tmp_path / "run"
    photos = project / "photos/train"
    line = ["train", "tiny.yaml", "data.val_split=0", "--data", photos, "--out", out]
    assert process(*line, "train.epochs=1", cwd=project).code == 0
    outcome = cnn("report", out)
    message = f"{photos}: must have images for --split val. Got train only."
    assert (outcome.code, outcome.err) == (0, f"cnn: {message}\n")
    assert outcome.out == f"{out / 'report.html'}: without scores\n"
    page = page_of(out / "report.html")
    assert sections(page) == [name for name in SECTIONS if name not in MEASURED]
    assert f"Not measured. {message}" in page.text
    # The training images are available on request.
    assert cnn("report", out, "--split", "train").out.endswith(" on 24 images\n")
    outcome = cnn("report", out, "--split", "val")
    assert (outcome.code, outcome.err) == (4, f"cnn: {message}\n")


def lost(run: Path) -> Path:
    """The run, whose images no longer exist."""
    checkpoint = load_checkpoint(run / "best.npz")
    checkpoint.meta["config"]["data"]["root"] = "/nowhere"
    save_checkpoint(run / "best.npz", checkpoint)
    return run


def test_images_that_are_gone(cnn: Inside, run: Path) -> None:
    lost(run)
    outcome = cnn("report", run)
    assert (outcome.code, outcome.err.count("\n")) == (0, 1)
    assert outcome.err.startswith("cnn: /nowhere: ")
    assert "Not measured. /nowhere: " in page_of(run / "report.html").text
    outcome = cnn("report", run, "--split", "val", "--output", run / "other.html")
    assert outcome.code == 4
    assert not (run / "other.html").exists()


def test_no_epoch_was_trained(project: Path, tmp_path: Path, cnn: Inside) -> None:
    out = tmp_path / "run"
    assert process("train", "tiny.yaml", "train.epochs=0", "--out", out, cwd=project).code == 0
    assert cnn("report", out).code == 0
    page = page_of(out / "report.html")
    assert "No epoch was trained." in page.text
    assert sections(page) == SECTIONS


def test_an_unfinished_run_and_what_was_not_measured(cnn: Inside, run: Path) -> None:
    checkpoint = load_checkpoint(run / "last.npz")
    checkpoint.meta["config"]["train"]["epochs"] = 5
    checkpoint.meta["state"]["rows"][0] |= {"val_loss": None, "val_top1": None}
    save_checkpoint(run / "last.npz", checkpoint)
    assert cnn("report", run).code == 0
    page = page_of(run / "report.html")
    assert "2 of 5, unfinished" in page.text
    assert "validation: not measured in epoch 1, " in page.text
    assert "Weights: best.npz." in page.text


def test_weights_from_elsewhere(cnn: Inside, run: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(run / "best.npz")
    for key in ("state", "versions", "threads", "backend", "data", "program_version"):
        del checkpoint.meta[key]
    checkpoint.meta["config"]["data"]["root"] = None
    save_checkpoint(tmp_path / "m.npz", checkpoint)
    outcome = cnn("report", tmp_path / "m.npz", "--output", tmp_path / "a.html")
    message = "report: needs --data DIR: the checkpoint does not say where its images are."
    assert (outcome.code, outcome.err) == (0, f"cnn: {message}\n")
    assert "the weights come from elsewhere" in page_of(tmp_path / "a.html").text


def test_runs_side_by_side(cnn: Inside, run: Path, project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    line = ["train", "tiny.yaml", "train.epochs=1", "train.optimizer.lr=0.01", "--out", other]
    assert process(*line, cwd=project).code == 0
    file = tmp_path / "both.html"
    outcome = cnn("report", run, other, "--output", file)
    assert (outcome.code, outcome.out, outcome.err) == (0, f"{file}: 2 runs\n", "")
    page = page_of(file)
    assert sections(page) == ["Results", "Curves", "Config differences", "Classes"]
    assert "train.optimizer.lr0.050.01" in page.text
    assert "train.epochs21" in page.text
    assert "tiny, validation" in page.text
    assert "other, validation" in page.text
    assert not page.images


def test_a_run_beside_itself(cnn: Inside, run: Path, tmp_path: Path) -> None:
    file = tmp_path / "both.html"
    assert cnn("report", run, run, "--output", file).code == 0
    page = page_of(file)
    assert f"{run} (2)" in page.text
    assert "The configs are the same." in page.text


def test_a_run_whose_images_are_gone_beside_another(cnn: Inside, run: Path, tmp_path: Path) -> None:
    other = lost(Path(shutil.copytree(run, tmp_path / "other")))
    file = tmp_path / "both.html"
    outcome = cnn("report", run, other, "--output", file)
    assert (outcome.code, outcome.err.count("\n")) == (0, 1)
    page = page_of(file)
    assert "other: not measured. /nowhere: " in page.text
    assert "classtinyrange" in page.text, "the scores of classes are those of one run"
    # Among scores on the same images, the best is bold.
    assert page.elements["strong"] == 1


def test_another_network_is_one_row(cnn: Inside, run: Path, project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    line = ["train", "tiny.yaml", "train.epochs=0", "model.layers.2=silu", "--out", other]
    assert process(*line, cwd=project).code == 0
    file = tmp_path / "both.html"
    assert cnn("report", run, other, "--output", file).code == 0
    made = "1 conv, 1 batchnorm, 1 {}, 1 global_avgpool, 1 linear"
    rows = f"model.layers{made.format('relu')}{made.format('silu')}train.epochs20"
    assert rows in page_of(file).text


def test_many_runs_show_validation_only(cnn: Inside, run: Path, tmp_path: Path) -> None:
    file = tmp_path / "all.html"
    assert cnn("report", *[run] * 8, "--output", file).out == f"{file}: 8 runs\n"
    page = page_of(file)
    assert f"{run} (8), validation" in page.text
    assert ", training" not in page.text


def test_overwriting_a_run_deletes_its_report(cnn: Inside, run: Path, project: Path) -> None:
    assert cnn("report", run).code == 0
    line = ["train", "tiny.yaml", "--out", run, "--overwrite", "train.epochs=1"]
    assert process(*line, cwd=project).code == 0
    assert not (run / "report.html").exists()


def test_errors(cnn: Inside, run: Path, tmp_path: Path) -> None:
    outcome = cnn("report", tmp_path)
    message = f"{tmp_path}: must be a checkpoint, or a run folder with best.npz or last.npz."
    assert (outcome.code, outcome.err) == (4, f"cnn: {message}\n")
    outcome = cnn("report", run, "--output", tmp_path / "no" / "a.html")
    message = f"{tmp_path}/no/a.html: cannot be written. Got no such folder."
    assert (outcome.code, outcome.err) == (4, f"cnn: {message}\n")
    outcome = cnn("report", run, "--output", "a.pdf")
    message = "cnn: --output: must be a .html file. Got 'a.pdf'.\n"
    assert (outcome.code, outcome.err) == (2, message)
    outcome = cnn("report", run, "--output", "")
    assert (outcome.code, outcome.err) == (2, "cnn: --output: must be a path. Got an empty one.\n")


def test_versions_that_are_none_are_refused(cnn: Inside, run: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(run / "best.npz")
    checkpoint.meta["versions"] = {"numpy": 2}
    save_checkpoint(tmp_path / "m.npz", checkpoint)
    outcome = cnn("report", tmp_path / "m.npz")
    message = f"{tmp_path}/m.npz: meta.versions must be a mapping of names to texts."
    assert (outcome.code, outcome.err) == (4, f"cnn: {message}\n")
