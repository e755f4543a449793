"""Full disks and missing permissions: one line, exit code 4, and existing files unchanged."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_program import COMMAND, Outcome, process
from hardship import Field, assert_same_run, cnn, contents, make_field
from patience import PATIENCE

FULL = "/dev/full"
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, PR_CAPBSET_DROP = 1, 2, 24  # linux/capability.h, prctl.h


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    return make_field(tmp_path_factory.mktemp("field"), train=8, epochs=2)


@pytest.fixture(scope="module")
def half(field: Field) -> Path:
    """A run of one of two epochs; read-only."""
    out = field.config.parent / "half"
    assert cnn("train", field.config, "--out", out, "--epochs", 1, "--threads", 1).code == 0
    return out


@pytest.fixture(scope="module")
def whole(field: Field) -> Path:
    out = field.config.parent / "whole"
    assert cnn("train", field.config, "--out", out, "--threads", 1).code == 0
    return out


def limited(size: int, *arguments: object) -> Outcome:
    """Run a process that may not write files longer than `size` bytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_said_before_training(field: Field, tmp_path: Path) -> None:
    outcome = limited(0, "train", field.config, "--out", tmp_path / "a/run")
    line = f"cnn: {tmp_path}/a/run: must be a folder that can be written to. Got file too large.\n"
    assert outcome == Outcome(4, "", line)
    assert not (tmp_path / "a/run").exists()


@pytest.mark.parametrize("size", [4096, 7000])
def test_the_disk_fills_up_while_saving(
    field: Field, half: Path, whole: Path, tmp_path: Path, size: int
) -> None:
    """The probe fits, but `best.npz` or `last.npz` does not."""
    out = tmp_path / "run"
    shutil.copytree(half, out)
    before = contents(out)
    line = ("train", field.config, "--out", out, "--resume", "--threads", 1)
    outcome = limited(size, *line, "--quiet")
    assert outcome.code == 4
    assert outcome.out == ""
    assert outcome.err.startswith(f"cnn: {out}/")
    assert outcome.err.endswith(".npz: cannot be written. Got file too large.\n")
    assert outcome.err.count("\n") == 1
    after = contents(out)
    assert after.keys() == before.keys()
    for name in ("last.npz", "metrics.csv", "log.jsonl"):
        assert after[name] == before[name], name
    assert cnn(*line).code == 0
    assert_same_run(whole, out)


def test_outputs_that_do_not_fit_leave_nothing_behind(
    field: Field, whole: Path, tmp_path: Path
) -> None:
    (tmp_path / "old.csv").write_text("old")
    lines = {
        "a.csv": ("predict", field.pictures, "--format=csv", "--output"),
        "old.csv": ("eval", field.pictures, "--predictions"),
    }
    for name, (command, *arguments) in lines.items():
        path = tmp_path / name
        outcome = limited(100, command, *arguments, path, "--ckpt", whole)
        line = f"cnn: {path}: cannot be written. Got file too large.\n"
        assert (outcome.code, outcome.err) == (4, line), name
    assert contents(tmp_path).keys() == {"old.csv"}
    assert (tmp_path / "old.csv").read_text() == "old"


@pytest.mark.skipif(not os.path.exists(FULL), reason=f"there is no {FULL}")
@pytest.mark.parametrize("command", ["train", "eval", "predict"])
def test_a_full_stdout(field: Field, whole: Path, tmp_path: Path, command: str) -> None:
    arguments = {
        "train": (field.config, "--out", tmp_path / "run", "--epochs", 0),
        "eval": (field.pictures, "--ckpt", whole),
        "predict": (field.pictures, "--ckpt", whole),
    }[command]
    with open(FULL, "wb") as full:
        streams: dict[str, Any] = {
            "capture_output": False,
            "stdout": full,
            "stderr": subprocess.PIPE,
        }
        outcome = process(command, *arguments, **streams)
    line = "cnn: stdout: cannot be written. Got no space left on device.\n"
    assert (outcome.code, outcome.err) == (4, line)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(folder)]
    if not sys.platform.startswith("linux") or shutil.which("mount") is None:
        pytest.skip("there is no mount")
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mounting needs a right that is not there: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_really_full(
    field: Field, half: Path, whole: Path, small_disk: Path
) -> None:
    out = small_disk / "run"
    shutil.copytree(half, out, ignore=shutil.ignore_patterns("*.png"))  # there is no room for them
    before = contents(out)
    line = ("train", field.config, "--out", out, "--resume", "--threads", 1)

    def fill(free: int) -> None:
        ballast = small_disk / "ballast"
        ballast.unlink(missing_ok=True)
        ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - free))

    fill(0)
    rule = "must be a folder that can be written to. Got no space left on device."
    assert cnn(*line) == Outcome(4, "", f"cnn: {out}: {rule}\n")
    assert contents(out) == before
    fill(8192)
    outcome = cnn(*line)
    assert outcome.code == 4
    said = outcome.err.splitlines()[-1]
    assert said.startswith(f"cnn: {out}/"), outcome
    assert said.endswith("cannot be written. Got no space left on device."), outcome
    after = contents(out)
    assert after.keys() == before.keys()
    assert after["last.npz"] == before["last.npz"]
    # The disk is full of a killed process's partial files, which are deleted first.
    fill(0)
    (small_disk / "ballast").rename(out / ".cnn-4194305-0.tmp")
    assert cnn(*line).code == 0
    assert_same_run(whole, out)


def test_a_disk_that_is_mounted_read_only(field: Field, whole: Path, small_disk: Path) -> None:
    """The reason is the disk, and the image that cannot be moved is named, not its new folder."""
    shutil.copytree(field.pictures / "val/dark", small_disk / "card")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    card, moved = small_disk / "card", whole.parent / "moved"
    read_only = "Got read-only file system."
    for line, said in {
        ("train", field.config, "--out", card / "run", "--dry-run"): (
            f"{card}/run: must be a folder that can be written to. {read_only}"
        ),
        ("predict", card, "--ckpt", whole, "--output", card / "a.csv"): (
            f"{card}/a.csv: cannot be written. {read_only}"
        ),
    }.items():
        assert cnn(*line) == Outcome(4, "", f"cnn: {said}\n")
    outcome = cnn("predict", card, "--ckpt", whole, "--sort-into", moved, "--move")
    assert outcome.code == 4
    for said, name in zip(outcome.err.splitlines(), sorted(os.listdir(card)), strict=True):
        assert said.startswith(f"cnn: {card}/{name}: cannot be moved to {moved}/")
        assert said.endswith(f". {read_only}")
    assert not [path for path in moved.rglob("*") if path.is_file()]


def bound(*arguments: object) -> Outcome:
    """Run a process whose file access depends on permissions only, even as root."""

    def give_up_rights() -> None:
        if os.geteuid() == 0:
            libc = ctypes.CDLL(None, use_errno=True)
            for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
                if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                    raise OSError(ctypes.get_errno(), "prctl")

    return process(*arguments, preexec_fn=give_up_rights)


needs_permissions = pytest.mark.skipif(
    os.geteuid() == 0 and not sys.platform.startswith("linux"),
    reason="root may do anything, and only Linux lets it give that up",
)


@needs_permissions
def test_no_permission_to_write(field: Field, tmp_path: Path) -> None:
    out = tmp_path / "sealed"
    out.mkdir()
    out.chmod(0o555)
    outcome = bound("train", field.config, "--out", out / "run")
    rule = "must be a folder that can be written to. Got permission denied."
    assert outcome == Outcome(4, "", f"cnn: {out}/run: {rule}\n")


@needs_permissions
def test_no_permission_to_read(field: Field, whole: Path, tmp_path: Path) -> None:
    """For an image, the others are processed. For a class folder, checkpoint or config, there is
    one error.
    """
    pictures, ckpt = tmp_path / "pictures", tmp_path / "model.npz"
    shutil.copytree(field.pictures, pictures)
    shutil.copy(whole / "best.npz", ckpt)
    config = Path(shutil.copy(field.config, tmp_path))
    image = pictures / "val/dark/0.png"
    image.chmod(0)
    denied = "cannot be read. Got permission denied."

    outcome = bound("predict", image.parent, "--ckpt", ckpt)
    assert (outcome.code, outcome.err) == (4, f"cnn: {image}: {denied}\n")
    assert outcome.out.count("\n") == 3
    outcome = bound("eval", pictures, "--ckpt", ckpt)
    assert (outcome.code, outcome.err) == (0, f"cnn: {image}: {denied}\n")

    image.parent.chmod(0)
    assert bound("eval", pictures, "--ckpt", ckpt) == Outcome(
        4, "", f"cnn: {image.parent}: {denied}\n"
    )
    image.parent.chmod(0o755)
    ckpt.chmod(0)
    assert bound("predict", pictures, "--ckpt", ckpt) == Outcome(4, "", f"cnn: {ckpt}: {denied}\n")
    config.chmod(0)
    assert bound("train", config) == Outcome(3, "", f"cnn: {config}: {denied}\n")
