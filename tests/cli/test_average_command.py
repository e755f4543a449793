"""`cnn average`: mean weights, new statistics, and errors."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from cli_program import COMMAND, Inside, Outcome, process

from cnn_cli.data.decode import load_image
from cnn_cli.inference.classifier import Classifier
from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def runs(project: Path) -> list[Path]:
    """The run of `tiny.yaml`, and two fine-tuned from it; read-only."""
    folder = project / "soups"
    for line in (
        ("train.epochs=1", "--out", folder / "first"),
        ("train.seed=1", "train.weights=soups/first/last.npz", "--out", folder / "second"),
        ("train.seed=2", "train.weights=soups/first/last.npz", "--out", folder / "third"),
    ):
        outcome = process("train", "tiny.yaml", "--quiet", "--threads", 1, *line, cwd=project)
        assert outcome.code == 0, outcome.err
    return [folder / name for name in ("first", "second", "third")]


@pytest.fixture(autouse=True)
def _in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def average(cnn: Inside, *arguments: object) -> list[str]:
    outcome = cnn("average", *arguments, "--threads", 1, "--backend", "numpy")
    assert (outcome.code, outcome.err) == (0, "")
    return outcome.out.splitlines()


def test_the_mean_of_the_weights(cnn: Inside, runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "soup.npz"
    lines = average(cnn, *runs, "--output", out)
    assert lines == [
        "averaged    3 checkpoints",
        "statistics  of 24 training images",
        f"written     {out}",
    ]
    soup, members = Classifier.load(out), [Classifier.load(run) for run in runs]
    mean = np.mean([one.params.flat.astype(np.float64) for one in members], axis=0)
    np.testing.assert_array_equal(soup.params.flat, mean.astype(np.float32))
    assert soup.classes == members[0].classes
    assert soup.temperature == 1
    meta = load_checkpoint(out).meta
    assert meta["averaged"] == {"checkpoints": [str(one.path) for one in members], "images": 24}
    assert cnn("eval", "--ckpt", out).code == 0
    assert cnn("predict", "photos/test", "--ckpt", out).code == 0


@pytest.mark.parametrize("depth", ["8", "float"])
def test_statistics_are_those_of_the_mean_weights(
    cnn: Inside, runs: list[Path], tmp_path: Path, depth: str
) -> None:
    """They equal each channel's variance over all training images at the input of batch
    normalization.
    """
    if depth == "float":
        line = ("train", "tiny.yaml", "data.depth=float", "train.epochs=1", "--quiet")
        runs = [tmp_path / "a", tmp_path / "b"]
        assert cnn(*line, "--out", runs[0]).code == 0
        assert cnn(*line, "--out", runs[1], "--weights", runs[0] / "last.npz").code == 0
    out = tmp_path / "soup.npz"
    average(cnn, *runs, "--output", out)
    soup = Classifier.load(out)
    files = sorted(Path("photos/train").rglob("*.png"))
    pixels = np.stack([load_image(file, soup.preprocess) for file in files])
    with soup.engine(1) as engine:
        features = engine.features(0)(pixels).astype(np.float64)
    found = soup.params.named_buffers()
    mean, n = features.mean(axis=(0, 1, 2)), features[..., 0].size
    np.testing.assert_allclose(found["layers.1/running_mean"], mean, rtol=1e-4, atol=1e-5)
    variance = features.var(axis=(0, 1, 2)) * n / (n - 1)
    np.testing.assert_allclose(found["layers.1/running_var"], variance, rtol=1e-4)


def test_the_same_bits_again(cnn: Inside, runs: list[Path], tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        average(cnn, *runs, "--output", tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_calibrated_checkpoints(cnn: Inside, runs: list[Path], tmp_path: Path) -> None:
    """The mean has other scores and other features."""
    fitted = tmp_path / "fitted.npz"
    shutil.copy(runs[1] / "best.npz", fitted)
    line = ("average", runs[0], fitted, "--output", tmp_path / "soup.npz", "--backend", "numpy")
    assert cnn(*line).err == ""
    assert cnn("eval", "--ckpt", fitted, "--calibrate", "--reject", 0.2).code == 0
    note = (
        "no temperature and no bound of --reject, which were fitted to the checkpoints; "
        "cnn eval --calibrate fits others"
    )
    assert cnn(*line).err == f"cnn: {note}\n"
    assert not Classifier.load(tmp_path / "soup.npz").rejects


def test_images_that_are_gone(cnn: Inside, runs: list[Path], tmp_path: Path) -> None:
    moved = []
    for run in runs[:2]:
        checkpoint = load_checkpoint(run / "best.npz")
        checkpoint.meta["config"]["data"]["root"] = str(tmp_path / "gone")
        save_checkpoint(tmp_path / f"{run.name}.npz", checkpoint)
        moved.append(tmp_path / f"{run.name}.npz")
    line = ("average", *moved, "--output", tmp_path / "soup.npz", "--threads", 1)
    outcome = cnn(*line, "--json")
    assert outcome.code == 0
    start = "cnn: batch normalization statistics are the mean of the checkpoints': "
    assert outcome.err.startswith(f"{start}{tmp_path}/gone: ")
    assert outcome.err.count("\n") == 1
    document = json.loads(outcome.out)
    assert document == {
        "output": str(tmp_path / "soup.npz"),
        "checkpoints": [str(path) for path in moved],
        "images": None,
    }
    found = Classifier.load(tmp_path / "soup.npz").params.flat_buffers
    members = [Classifier.load(path).params.flat_buffers for path in moved]
    np.testing.assert_allclose(found, np.mean(members, axis=0), rtol=1e-6)
    outcome = cnn(*line, "--data", "photos", "--json")
    assert json.loads(outcome.out)["images"] == 24
    outcome = cnn(*line, "--data", tmp_path / "gone")
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err.startswith(f"cnn: {tmp_path}/gone: ")


def test_statistics_that_were_frozen(cnn: Inside, runs: list[Path], tmp_path: Path) -> None:
    members = []
    for seed in (1, 2):
        members.append(tmp_path / str(seed))
        base = ("train", "tiny.yaml", f"train.seed={seed}", "train.epochs=1", "--quiet")
        frozen = ("train.freeze={batchnorm.*: 0}", f"train.weights={runs[0] / 'last.npz'}")
        assert cnn(*base, *frozen, "--out", members[-1]).code == 0
    out = tmp_path / "soup.npz"
    line = ("average", *members, "--output", out, "--threads", 1)
    assert cnn(*line) == Outcome(
        0,
        f"averaged    2 checkpoints\nwritten     {out}\n",
        "cnn: batch normalization statistics are the mean of the checkpoints': train.freeze "
        "keeps them all\n",
    )
    assert json.loads(cnn(*line, "--json").out)["images"] is None
    note = "cnn: --data photos is not needed: no batch statistics are measured\n"
    assert note in cnn(*line, "--data", "photos").err
    assert load_checkpoint(out).meta["averaged"]["images"] is None
    buffers = [Classifier.load(path).params.flat_buffers for path in (out, *members)]
    np.testing.assert_array_equal(buffers[0], buffers[1])
    np.testing.assert_array_equal(buffers[0], buffers[2])


def test_another_network(cnn: Inside, runs: list[Path], project: Path, tmp_path: Path) -> None:
    shutil.copy(project / "tiny.yaml", tmp_path / "other.yaml")
    wide = ("model.layers.0.conv.out_channels=5", "train.epochs=0", "--data", project / "photos")
    line = ("train", tmp_path / "other.yaml", *wide, "--out", tmp_path / "wide", "--quiet")
    assert cnn(*line).code == 0
    out = tmp_path / "soup.npz"
    outcome = cnn("average", runs[0], tmp_path / "wide", "--output", out)
    first = f"{runs[0]}/best.npz"
    got = "layers.0 (conv) with out_channels 5, not 4"
    rule = f"must be of the same network as {first}. Got {got}."
    assert (outcome.code, outcome.err) == (4, f"cnn: {tmp_path}/wide/last.npz: {rule}\n")
    checkpoint = load_checkpoint(runs[1] / "best.npz")
    checkpoint.meta["classes"] = ["dark", "bright", "grey"]
    save_checkpoint(tmp_path / "turned.npz", checkpoint)
    outcome = cnn("average", runs[0], tmp_path / "turned.npz", "--output", out)
    rule = f"must have the classes of {first}, in the same order"
    got = '["dark", "bright", "grey"], not ["bright", "dark", "grey"]'
    assert (outcome.code, outcome.err) == (4, f"cnn: {tmp_path}/turned.npz: {rule}. Got {got}.\n")
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "average: needs CKPT. Got nothing."),
        (["a.npz"], 2, "average: needs --output FILE.npz. Got nothing."),
        (
            ["a.npz", "--output", "a.onnx"],
            2,
            "--output: must be a .npz file. Got 'a.onnx'.",
        ),
        (
            ["a.npz", "b.npz", "--output", "c.npz"],
            4,
            "a.npz: cannot be read. Got no such file or directory.",
        ),
        (["a.npz", "--output", "c.npz"], 2, "average: needs two checkpoints or more. Got 1."),
    ],
)
def test_what_is_refused(cnn: Inside, arguments: list[str], code: int, message: str) -> None:
    outcome = cnn("average", *arguments)
    assert (outcome.code, outcome.out, outcome.err) == (code, "", f"cnn: {message}\n")


def test_killed_at_any_moment(runs: list[Path], project: Path, tmp_path: Path) -> None:
    """The file is complete or unchanged."""
    out = tmp_path / "soup.npz"
    line = ["average", *map(str, runs), "--output", str(out), "--threads", "1"]
    began = time.monotonic()
    assert process(*line, cwd=project).code == 0
    whole, took = out.read_bytes(), time.monotonic() - began
    out.write_bytes(b"before")
    for part in (0.3, 0.6, 0.8, 0.9, 0.97):
        started = subprocess.Popen([*COMMAND, *line], cwd=project, stdout=subprocess.DEVNULL)
        time.sleep(part * took)
        started.send_signal(signal.SIGKILL)
        started.wait()
        assert out.read_bytes() in (b"before", whole)
    assert process(*line, cwd=project).code == 0
    assert out.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["soup.npz"]


def test_hostile_names(cnn: Inside, runs: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "a\x1b[31m\n.npz"
    shutil.copy(runs[1] / "best.npz", bad)
    out = tmp_path / "o\x1bu\nt.npz"
    outcome = cnn("average", runs[0], bad, "--output", out, "--threads", 1)
    assert outcome.code == 0
    assert outcome.out.endswith(f"written     {tmp_path}/o\\x1bu\\nt.npz\n")
    outcome = cnn("average", runs[0], tmp_path / "\x1b.npz", "--output", out)
    assert outcome.err == (
        f"cnn: {tmp_path}/\\x1b.npz: cannot be read. Got no such file or directory.\n"
    )
