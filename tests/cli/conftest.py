"""A small set of images, a config for it, and a run trained on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_program import Inside, call_inside, process
from PIL import Image
from tagged import make_tagged, write_tagged_config

from cnn_cli.cli import train
from cnn_cli.cli.train import draw_run

CONFIG = """\
data: {root: photos, image_size: 8, channels: 1}
model:
  layers:
    - conv: {out_channels: 4, kernel_size: 3, padding: 1}
    - batchnorm
    - relu
    - global_avgpool
    - linear: classes
train: {epochs: 2, batch_size: 8, optimizer: {lr: 0.05}}
"""
LEVELS = {"bright": 190, "dark": 0, "grey": 95}
COUNTS = {"train": 8, "val": 4, "test": 2}


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos/<split>/<class>/<n>.png` and `tiny.yaml`; read-only."""
    folder = tmp_path_factory.mktemp("project")
    rng = np.random.default_rng(0)
    for split, count in COUNTS.items():
        for name, level in LEVELS.items():
            place = folder / "photos" / split / name
            place.mkdir(parents=True)
            for i in range(count):
                pixels = level + rng.integers(0, 60, (8, 8))
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{i}.png")
    (folder / "tiny.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="session")
def trained(project: Path) -> Path:
    """The run folder of `cnn train tiny.yaml`; read-only."""
    outcome = process("train", "tiny.yaml", "--threads", 1, cwd=project)
    assert outcome.code == 0, outcome.err
    return project / "runs" / "tiny"


@pytest.fixture(scope="session")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images with several labels, their list `tags.csv`, and `tiny.yaml`."""
    folder = tmp_path_factory.mktemp("tagged")
    write_tagged_config(folder / "tiny.yaml", make_tagged(folder), epochs=6)
    return folder


@pytest.fixture(scope="session")
def tagged_run(tagged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of its training; read-only."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    outcome = process("train", tagged / "tiny.yaml", "--out", out, "--threads", 1, "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    return out


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off the plots of runs, which take longer than the training, unless a test needs them."""
    monkeypatch.setattr(train, "draw_run", lambda path, *, quiet: None)


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch, undrawn: None) -> None:
    """Turn on the plots of runs."""
    monkeypatch.setattr(train, "draw_run", draw_run)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cnn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    """A function that runs a command line in this process."""
    return call_inside(monkeypatch, capsys)


@pytest.fixture
def picture(project: Path) -> Path:
    """An image of the class `bright`."""
    return project / "photos/test/bright/0.png"
