"""Held-out images on the command line: shares, groups, a test part, old runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_program import Inside
from conftest import CONFIG
from PIL import Image

from cnn_cli.data.opening import open_dataset
from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint
from cnn_cli.runs.meta import split_rule
from cnn_cli.training.resumed_data import data_facts

LINE = ("train", "tiny.yaml", "--threads", 1, "--epochs")
V1 = Path(__file__).parents[1] / "runs" / "data" / "checkpoint-v1.npz"


def paint(root: Path, counts: dict[str, int]) -> None:
    rng = np.random.default_rng(len(counts))
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 90, (8, 8)) + 120 * (name > "a")
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i:03}.png")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    paint(tmp_path / "photos", {"a": 22, "b": 5})
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def images(cnn: Inside, *line: object) -> int:
    outcome = cnn("eval", "--ckpt", "runs/tiny", "--json", *line)
    assert outcome.code == 0, outcome.err
    return int(json.loads(outcome.out)["images"])


def plan(cnn: Inside, *line: object) -> dict[str, Any]:
    outcome = cnn("train", "tiny.yaml", "--dry-run", "--json", *line)
    assert outcome.code == 0, outcome.err
    document: dict[str, Any] = json.loads(outcome.out)
    return document


def test_every_class_has_validation_images(cnn: Inside, here: Path) -> None:
    found = plan(cnn)
    assert (found["train_images"], found["val_images"], found["remarks"]) == (24, 3, [])
    outcome = cnn(*LINE, 1, "--json")
    assert outcome.code == 0
    assert split_rule(load_checkpoint(here / "runs/tiny/last.npz").meta) == "ranks"
    assert images(cnn) == 3
    scores = json.loads(cnn("eval", "--ckpt", "runs/tiny", "--json").out)
    assert [scores["classes"][name]["support"] for name in "ab"] == [2, 1]


def test_the_test_part_is_what_neither_trains_nor_validates(cnn: Inside, here: Path) -> None:
    assert cnn(*LINE, 1, "--quiet", "data.test_split=0.2").code == 0
    assert [images(cnn, "--split", part) for part in ("train", "val", "test", "all")] == [
        *(19, 3, 5),
        27,
    ]
    seen: dict[str, set[str]] = {}
    for part in ("train", "val", "test"):
        line = ("eval", "--ckpt", "runs/tiny", "--split", part, "--predictions", "p.csv")
        assert cnn(*line).code == 0
        rows = (here / "p.csv").read_text().splitlines()[1:]
        seen[part] = {row.split(",")[0] for row in rows}
    assert len(set().union(*seen.values())) == 27
    # Another validation share leaves the test images unchanged.
    data = open_dataset(here / "photos", None, 0.4, test_split=0.2)
    assert data.test is not None
    assert {Path(path).name for path in data.test.paths} == {
        Path(path).name for path in seen["test"]
    }


def test_what_cannot_be_held_back_is_said(cnn: Inside, here: Path) -> None:
    paint(here / "few", {"a": 3, "b": 1})
    line = "1 class has too few different images to hold one back to validate on: b"
    outcome = cnn("train", "tiny.yaml", "--data", "few", "--dry-run")
    assert (outcome.code, outcome.err) == (0, f"cnn: {line}\n")
    assert plan(cnn, "--data", "few")["remarks"] == [line]
    outcome = cnn(*LINE, 1, "--data", "few")
    assert outcome.err.splitlines()[0] == f"cnn: {line}"
    assert cnn("train", "tiny.yaml", "--data", "few", "--dry-run", "--quiet").err == ""
    paint(here / "none", {"a": 1, "b": 1})
    outcome = cnn("train", "tiny.yaml", "--data", "none", "--dry-run")
    rule = "nothing is held back to validate on: no class has two different images"
    assert outcome.err == f"cnn: {rule}\n"


def test_groups_are_on_one_side(cnn: Inside, here: Path) -> None:
    for path in (here / "photos").rglob("*.png"):
        path.rename(path.with_name(f"film{int(path.stem) // 4}-{path.name}"))
    group = "data.group=(film[0-9]+)-"
    assert cnn(*LINE, 1, "--quiet", group, "data.val_split=0.3").code == 0
    films: dict[str, set[str]] = {}
    for part in ("train", "val"):
        line = ("eval", "--ckpt", "runs/tiny", "--split", part, "--predictions", "p.csv")
        assert cnn(*line).code == 0
        rows = (here / "p.csv").read_text().splitlines()[1:]
        films[part] = {Path(row.split(",")[0]).name.partition("-")[0] for row in rows}
    assert films["train"]
    assert films["val"]
    assert not films["train"] & films["val"]
    outcome = cnn("train", "tiny.yaml", "--dry-run", "data.group=(nowhere)")
    assert outcome.code == 4
    assert outcome.err == (
        "cnn: data.group: must match the images' paths, or a part of them, below data.root. "
        "Got none, as a/film0-000.png.\n"
    )


def test_an_older_run_keeps_its_images(cnn: Inside, here: Path) -> None:
    """Its checkpoint does not contain the split rule."""
    paint(here / "more", {"a": 60, "b": 30})
    options = ("--data", "more", "data.val_split=0.3")
    assert cnn(*LINE, 1, "--quiet", *options).code == 0
    old = open_dataset(here / "more", None, 0.3, rule="fractions")
    assert old.val is not None
    assert len(old.val) != 27
    for name in ("last.npz", "best.npz"):
        file = here / "runs/tiny" / name
        checkpoint = load_checkpoint(file)
        del checkpoint.meta["split_rule"], checkpoint.meta["receipt"]
        checkpoint.meta["data"] = data_facts(old)
        save_checkpoint(file, checkpoint)
    assert images(cnn) == len(old.val)
    outcome = cnn(*LINE, 2, *options, "--resume")
    assert outcome.code == 0
    assert "the data changed" not in outcome.err
    meta = load_checkpoint(here / "runs/tiny/last.npz").meta
    assert split_rule(meta) == "fractions"
    assert meta["data"]["val"] == len(old.val)
    assert images(cnn) == len(old.val)
    assert split_rule(load_checkpoint(V1).meta) == "fractions"
    assert split_rule({}) == "ranks"
