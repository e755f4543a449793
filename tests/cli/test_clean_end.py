"""Commands leave only their results, also without a home folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from cli_program import Inside, process

PLACES = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR")


@pytest.fixture(autouse=True)
def _in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def test_libraries_delete_their_temporary_folders(tmp_path: Path) -> None:
    """matplotlib creates one if there is no home folder."""
    pytest.importorskip("matplotlib")
    (tmp_path / "t").mkdir()
    places = dict.fromkeys(PLACES, str(tmp_path / "none/there"))
    (tmp_path / "none").write_text("a file, so that nobody makes a folder of that name")
    environment = os.environ | places | {"TMPDIR": str(tmp_path / "t")}
    line = ("train", "tiny.yaml", "--out", tmp_path / "run", "--quiet", "train.epochs=1")
    outcome = process(*line, env=environment)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert (tmp_path / "run/curves.png").exists()
    assert list((tmp_path / "t").iterdir()) == []


def test_onnxruntime_records_nothing(trained: Path, tmp_path: Path) -> None:
    """When it is imported, it writes a number of this computer and a database of events."""
    pytest.importorskip("onnxruntime")
    place = tmp_path / "home"
    place.mkdir()
    environment = os.environ | dict.fromkeys(PLACES, str(place))
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    model = tmp_path / "m.onnx"
    for line in (
        ("export", "--ckpt", trained, "--output", model, "--check", "photos"),
        ("import", model, "--output", tmp_path / "m.npz"),
    ):
        outcome = process(*line, env=environment)
        assert outcome.code == 0, outcome
        assert list(place.rglob("*")) == []


@pytest.mark.parametrize("kind", ["file", "absent", "unset"])
def test_quiet_is_quiet_without_folders(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("")
    place = str(tmp_path / "file" / "x" if kind == "absent" else tmp_path / "file")
    environment = {name: text for name, text in os.environ.items() if name not in PLACES}
    if kind != "unset":
        environment |= dict.fromkeys(PLACES, place)
    line = ("train", "tiny.yaml", "--out", tmp_path / "run", "--quiet", "train.epochs=1")
    outcome = process(*line, "data.cache=disk", env=environment)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def snapshot(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())}


def test_a_finished_run_is_not_touched(
    cnn: Inside, trained: Path, tmp_path: Path, drawing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither lock nor plots are written, as the disk may be read-only."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    line = ("train", "tiny.yaml", "--out", run, "--resume", "--quiet")
    assert cnn(*line).code == 0  # it draws the plots, which may be older than the copy
    (run / ".lock").unlink()
    before = snapshot(run)
    assert cnn(*line).code == 0
    assert snapshot(run) == before

    for name in ("metrics.csv", "curves.png"):  # as after a kill
        (run / name).unlink(missing_ok=True)
    before = snapshot(run)
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
        outcome = cnn(*line[:-1])
        assert (outcome.code, outcome.err) == (0, "")
        assert snapshot(run) == before
    assert cnn(*line).code == 0
    assert (run / "metrics.csv").read_bytes() == (trained / "metrics.csv").read_bytes()
