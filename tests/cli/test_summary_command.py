"""`cnn summary`: the table, its numbers, and the number of classes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from cli_program import Inside

from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint

TABLE = """\
name      type            path    output  parameters  multiply-adds
--------  --------------  ------  ------  ----------  -------------
input                             8x8x1            0              0
layers.0  conv            im2col  8x8x4           40          2,304
layers.1  batchnorm               8x8x4            8              0
layers.2  relu                    8x8x4            0              0
layers.3  global_avgpool          4                0              0
layers.4  linear                  3               15             12
--------  --------------  ------  ------  ----------  -------------
total                                             63          2,316

memory of the parameters  252 B
memory to train           """


def test_table(cnn: Inside, project: Path) -> None:
    outcome = cnn("summary", project / "tiny.yaml")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(TABLE)
    assert "(estimate: batch size 8, " in outcome.out


def test_a_checkpoint_is_what_its_config_is(cnn: Inside, project: Path, trained: Path) -> None:
    expected = json.loads(cnn("summary", project / "tiny.yaml", "--json").out)
    for name in (".", "last.npz"):
        found = json.loads(cnn("summary", trained / name, "--json").out)
        assert found.pop("checkpoint")["classes"] == ["bright", "dark", "grey"]
        assert found == expected


def changed(trained: Path, path: Path, **meta: Any) -> Path:
    checkpoint = load_checkpoint(trained / "last.npz")
    checkpoint.meta.update(meta)
    save_checkpoint(path, checkpoint)
    return path


def test_what_a_checkpoint_holds(cnn: Inside, trained: Path) -> None:
    with (trained / "metrics.csv").open() as file:
        top1 = float(list(csv.DictReader(file))[-1]["val_top1"])
    outcome = cnn("summary", trained / "last.npz")
    assert (outcome.code, outcome.err) == (0, "")
    facts, table = outcome.out.split("\n\n", 1)
    assert facts.splitlines() == [
        f"checkpoint  {trained / 'last.npz'}",
        "classes     3: bright, dark, grey",
        "images      8x8x1, crop",
        f"trained     to epoch 2, 24 images; validation top1 {top1:.4f} (12 images)",
    ]
    assert table.startswith(TABLE)


def test_what_changes_its_predictions(cnn: Inside, trained: Path, tmp_path: Path) -> None:
    config = load_checkpoint(trained / "last.npz").meta["config"]
    config["augment"]["tta"] = "hflip"
    file = changed(trained, tmp_path / "m.npz", config=config, calibration={"temperature": 0.5})
    facts = cnn("summary", file).out.split("\n\n")[0]
    assert facts.splitlines()[-2:] == [
        "temperature  0.5000, from cnn eval --calibrate",
        "tta          hflip",
    ]
    document = json.loads(cnn("summary", file, "--json").out)["checkpoint"]
    assert (document["temperature"], document["tta"]) == (0.5, "hflip")
    assert (document["epochs"], document["monitor"]) == (2, "top1")
    assert document["images"] == {"train": 24, "val": 12}


def test_thresholds(cnn: Inside, tagged_run: Path) -> None:
    kept = load_checkpoint(tagged_run / "best.npz").meta
    told = zip(kept["classes"], kept["several_labels"]["thresholds"], strict=True)
    line = "thresholds  " + ", ".join(f"{name} {least:.4g}" for name, least in told)
    assert line in cnn("summary", tagged_run).out.splitlines()


def test_a_checkpoint_without_a_training(cnn: Inside, trained: Path, tmp_path: Path) -> None:
    file = changed(trained, tmp_path / "m.npz")
    checkpoint = load_checkpoint(file)
    del checkpoint.meta["state"], checkpoint.meta["data"]
    save_checkpoint(file, checkpoint)
    assert "trained" not in cnn("summary", file).out.split("\n\n")[0]
    assert json.loads(cnn("summary", file, "--json").out)["checkpoint"]["epochs"] is None


def test_a_checkpoint_with_a_damaged_training(cnn: Inside, trained: Path, tmp_path: Path) -> None:
    file = changed(trained, tmp_path / "m.npz", state={"epoch": "two"})
    outcome = cnn("summary", file)
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err == f"cnn: {file}: must be a checkpoint that training can continue from.\n"


def test_json(cnn: Inside, project: Path) -> None:
    line = ["data.image_size=[8, 6]", "train.dtype=float64", "--json"]
    document = json.loads(cnn("summary", project / "tiny.yaml", *line).out)
    assert document["input"] == [8, 6, 1]
    assert document["layers"][0] == {
        "name": "layers.0",
        "type": "conv",
        "path": "im2col",
        "output": [8, 6, 4],
        "parameters": 40,
        "multiply_adds": 1728,
    }
    assert document["parameters"] == 63
    assert document["multiply_adds"] == 1740
    assert document["parameter_bytes"] == 504
    assert document["training_bytes"] > 504


@pytest.mark.parametrize(
    ("arguments", "classes"),
    [
        ([], 3),
        (["--classes", "7"], 7),
        (["data.classes=[dark, grey]"], 2),
        (["data.classes=[dark, grey]", "data.root=none"], 2),
        (["data.root=none", "--classes", "5"], 5),
    ],
)
def test_number_of_classes(cnn: Inside, project: Path, arguments: list[str], classes: int) -> None:
    outcome = cnn("summary", project / "tiny.yaml", *arguments, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out)["classes"] == classes


@pytest.mark.parametrize(
    ("root", "got"), [("none", "neither"), ("/no/where", "no folder /no/where")]
)
def test_an_unknown_number_of_classes(cnn: Inside, project: Path, root: str, got: str) -> None:
    config = project / "tiny.yaml"
    outcome = cnn("summary", config, f"data.root={root}")
    rule = "the number of classes must come from data.classes, data.root or --classes N"
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err == f"cnn: {config}: {rule}. Got {got}.\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["gone.yaml"], 3, "gone.yaml: cannot be read. Got no such file or directory."),
        (["gone.npz"], 4, "gone.npz: cannot be read. Got no such file or directory."),
    ],
)
def test_what_is_not_there(cnn: Inside, arguments: list[str], code: int, message: str) -> None:
    outcome = cnn("summary", *arguments)
    assert (outcome.code, outcome.err) == (code, f"cnn: {message}\n")


def test_backends_have_paths_and_memory_of_their_own(cnn: Inside, project: Path) -> None:
    layer = "[{conv: {out_channels: 8, kernel_size: 3, padding: 1}}, {linear: classes}]"
    line = ["summary", project / "tiny.yaml", "data.image_size=16", "data.channels=3"]
    line += [f"model.layers=[{{conv: {{out_channels: 8, kernel_size: 1}}}}, {layer[1:]}"]
    found = [json.loads(cnn(*line, "--json", "--backend", name).out) for name in ("numpy", "fast")]
    assert [document["backend"] for document in found] == ["numpy", "fast"]
    assert [document["layers"][1]["path"] for document in found] == ["im2col", "winograd"]
    assert found[1]["training_bytes"] - found[0]["training_bytes"] > 100_000_000
