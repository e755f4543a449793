"""`cnn bench`: from a config or a checkpoint to a table or JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_program import Inside

LAYERS = ["layers.0", "layers.1", "layers.2", "layers.3", "layers.4"]


def test_table(cnn: Inside, project: Path) -> None:
    outcome = cnn("bench", project / "tiny.yaml", "--seconds", 0, "--threads", 2)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == "milliseconds of one of 2 workers: 4 images of a batch of 8, 4 at a time"
    assert lines[1] == ""
    assert lines[2].split()[:4] == ["name", "type", "forward", "GFLOP/s"]
    assert [line.split()[0] for line in lines[4:11]] == [*LAYERS, "optimizer", "engine"]
    assert lines[12].startswith("total ")
    assert lines[12].endswith(" 100.0%")
    assert lines[14].startswith("training ")
    assert lines[15].startswith("prediction ")
    assert lines[16].strip() == "(batch size 8, 2 threads, numpy, float32)"


def test_json(cnn: Inside, project: Path) -> None:
    options = ["--seconds", 0, "-b", 3, "--threads", 1, "--backend", "numpy", "--json"]
    outcome = cnn("bench", project / "tiny.yaml", "train.dtype=float64", *options)
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    layers = document.pop("layers")
    assert [layer["name"] for layer in layers] == LAYERS
    assert layers[2]["forward_gflops"] is None
    assert set(layers[0]) == {
        "name",
        "type",
        "forward_ms",
        "forward_gflops",
        "backward_ms",
        "backward_gflops",
        "share",
    }
    for key in ("engine_ms", "optimizer_ms", "step_ms", "training", "prediction"):
        assert document.pop(key) >= 0
    assert document == {
        "batch_size": 3,
        "threads": 1,
        "backend": "numpy",
        "dtype": "float64",
        "images": 3,
        "chunk": 3,
    }


@pytest.mark.parametrize("name", ["", "best.npz"])
def test_a_checkpoint(cnn: Inside, trained: Path, name: str) -> None:
    path = trained / name
    before = {file: file.read_bytes() for file in trained.iterdir()}
    outcome = cnn("bench", path, "--seconds", 0, "--threads", 1, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out)["batch_size"] == 8
    assert before == {file: file.read_bytes() for file in trained.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["gone.yaml"], 3, "gone.yaml: cannot be read. Got no such file or directory."),
        (["gone.npz"], 4, "gone.npz: cannot be read. Got no such file or directory."),
    ],
)
def test_what_is_not_there(cnn: Inside, arguments: list[str], code: int, message: str) -> None:
    outcome = cnn("bench", *arguments)
    assert (outcome.code, outcome.out, outcome.err) == (code, "", f"cnn: {message}\n")


def test_a_pattern_without_parameters(cnn: Inside, project: Path) -> None:
    path = project / "tiny.yaml"
    outcome = cnn("bench", path, "train.freeze={stem: 0}", "--seconds", 0)
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err == (
        f"cnn: {path}: train.freeze: no parameter has such a name. Got 'stem'.\n"
    )


def test_too_large(cnn: Inside, project: Path) -> None:
    config = project / "tiny.yaml"
    outcome = cnn("bench", config, "-b", 10**9)
    assert (outcome.code, outcome.out) == (3, "")
    start = f"cnn: {config}: model: the network needs more memory than there is. Got "
    assert outcome.err.startswith(start)


def test_an_unknown_number_of_classes(cnn: Inside, project: Path) -> None:
    config = project / "tiny.yaml"
    outcome = cnn("bench", config, "data.root=none")
    rule = "the number of classes must come from data.classes, data.root or --classes N"
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err == f"cnn: {config}: {rule}. Got neither.\n"
    assert cnn("bench", config, "data.root=none", "--classes", 4, "--seconds", 0).code == 0
