"""`cnn summary`: the table, its numbers, and the number of classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_program import Inside

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
    expected = cnn("summary", project / "tiny.yaml", "--json").out
    assert cnn("summary", trained, "--json").out == expected
    assert cnn("summary", trained / "last.npz", "--json").out == expected


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
