"""Before the first step: plans, memory and run folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from learnable import config_document, make_pictures
from short_training import Watch, run, weights

from cnn_cli.config import validate_config
from cnn_cli.errors import ConfigError, DataError, LockedError, UsageError
from cnn_cli.report.text.training_plan import plan_lines
from cnn_cli.runs.folder import RunFolder, choose_folder
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.planning import plan_training
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


def test_planning_refuses_what_training_would(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "run", epochs=1)
    other = validate_config(config_document(pictures, batch_size=8), "x.yaml")
    resume = TrainOptions(out=tmp_path / "run", resume=True)
    with pytest.raises(ConfigError, match=r"Got another train\.batch_size"):
        plan_training(other, "x.yaml", resume)
    gone = validate_config(config_document(pictures, weights=str(tmp_path / "no.npz")), "x.yaml")
    with pytest.raises(DataError, match="no such file"):
        plan_training(gone, "x.yaml", TrainOptions(tmp_path / "a"))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError) as caught:
        plan_training(other, "x.yaml", TrainOptions(out=tmp_path / "file" / "run"))
    rule = "must be a folder that can be written to"
    assert str(caught.value) == f"{tmp_path}/file/run: {rule}. Got a file, {tmp_path}/file."


def test_planning_writes_nothing(pictures: Path, tmp_path: Path) -> None:
    config = validate_config(config_document(pictures), "x.yaml")
    plan = plan_training(config, "x.yaml", TrainOptions(out=tmp_path / "run"))
    assert plan.as_dict()["train_images"] == 60
    assert any("60" in line for line in plan_lines(plan))
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_is_said_before_anything_is_allocated(
    pictures: Path, tmp_path: Path
) -> None:
    document = config_document(pictures)
    document["model"]["layers"][0]["conv"]["out_channels"] = 10**9
    config = validate_config(document, "x.yaml")
    options = TrainOptions(out=tmp_path / "run", threads=1, backend="numpy")
    with pytest.raises(ConfigError, match=r"x\.yaml: model: the network needs more memory"):
        train(config, "x.yaml", options, Requests(), Watch())
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=r"x\.yaml: model: the network needs more memory"):
        plan_training(config, "x.yaml", options)


def test_run_folders_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def choose(**flags: bool) -> str:
        defaults = {"resume": False, "overwrite": False}
        return str(choose_folder(None, "configs/small.yaml", **(defaults | flags)))

    assert choose() == choose(resume=True) == "runs/small"
    for name in ("small", "small-2", "small-4"):
        Path("runs", name).mkdir(parents=True)
        Path("runs", name, "last.npz").touch()
    assert choose() == "runs/small-5"
    assert choose(resume=True) == "runs/small-4"
    with RunFolder(Path("runs/small-5")):  # another process, before its first checkpoint
        assert choose() == "runs/small-6"
    assert choose(overwrite=True) == "runs/small"


def test_an_out_that_holds_a_run_is_refused(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "run", epochs=0)
    before = weights(tmp_path / "run")
    with pytest.raises(UsageError) as caught:
        run(pictures, tmp_path / "run")
    assert str(caught.value) == (
        f"--out {tmp_path}/run: holds a run; give --resume or --overwrite to use it."
    )
    assert weights(tmp_path / "run") == before
    (tmp_path / "run" / "notes.txt").write_text("mine")
    run(pictures, tmp_path / "run", options={"overwrite": True}, epochs=1)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_one_process_at_a_time(pictures: Path, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run"), pytest.raises(LockedError) as caught:
        run(pictures, tmp_path / "run")
    assert str(caught.value) == (
        f"{tmp_path}/run: another process is training into this run folder."
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_out_that_cannot_be_written(pictures: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DataError):
        run(pictures, tmp_path / "run")


def test_an_out_that_is_a_file(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(DataError) as caught:
        run(pictures, tmp_path / "run")
    assert caught.value.code == 4
