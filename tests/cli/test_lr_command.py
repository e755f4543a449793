"""`cnn lr`: output, plot and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_program import Inside
from PIL import Image
from tagged import make_tagged, write_tagged_config

from cnn_cli.cli import lr


@pytest.fixture(autouse=True)
def _in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def test_text(cnn: Inside, project: Path) -> None:
    before = sorted(project.rglob("*"))
    outcome = cnn("lr", "tiny.yaml", "--threads", 1)
    assert outcome.code == 0
    assert outcome.err == ""
    head, _, table = outcome.out.partition("\n\n")
    pairs = dict(line.split("  ", 1) for line in head.splitlines())
    assert pairs["configured"].strip() == "train.optimizer.lr=0.05"
    assert pairs["suggestion"].strip().startswith("train.optimizer.lr=")
    assert pairs["next"].strip() == f"cnn train tiny.yaml {pairs['suggestion'].strip()}"
    lines = table.splitlines()
    assert lines[0].split() == ["lr", "loss", "smoothed"]
    assert lines[2].split()[0] == "1.00e-06"
    assert len(lines) <= 2 + 25
    assert sorted(project.rglob("*")) == before


def test_the_suggestion_trains(cnn: Inside, tmp_path: Path) -> None:
    outcome = cnn("lr", "tiny.yaml", "--data", "photos", "train.batch_size=24", "--threads", 1)
    words = outcome.out.partition("cnn train ")[2].splitlines()[0].split()
    assert words[:3] == ["tiny.yaml", "train.batch_size=24", "data.root=photos"]
    assert cnn("train", *words, "--out", tmp_path / "run", "--quiet").code == 0


def test_json(cnn: Inside) -> None:
    line = ("lr", "tiny.yaml", "--steps", 40, "--threads", 1, "--json")
    outcome = cnn(*line)
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    assert list(document) == [
        *("suggestion", "settings", "configured", "steepest", "lowest", "ended", "steps", "points"),
    ]
    assert document["settings"] == {"train.optimizer.lr": document["suggestion"]}
    assert document["steps"] == 40
    assert list(document["points"][0]) == ["lr", "loss", "smoothed"]
    assert cnn(*line, "train.scheduler.warmup_epochs=3", "train.epochs=7").out == outcome.out


def test_several_labels_without_validation(cnn: Inside, here: Path) -> None:
    """What `cnn train` accepts, `cnn lr` does too."""
    write_tagged_config(here / "c.yaml", make_tagged(here, val=0))
    outcome = cnn("lr", "c.yaml", "data.val_split=0", "--steps", 20, "--threads", 1)
    assert (outcome.code, outcome.err) == (0, "")


def test_a_configured_rate_of_0(cnn: Inside) -> None:
    line = ("lr", "tiny.yaml", "--threads", 1, "--backend", "numpy", "--json")
    outcome = cnn(*line, "train.optimizer.lr=0")
    assert (outcome.code, outcome.err) == (0, "")
    found, other = json.loads(outcome.out), json.loads(cnn(*line).out)
    assert found["settings"] == other["settings"] == {"train.optimizer.lr": found["suggestion"]}
    assert found["configured"] == {"train.optimizer.lr": 0}


def test_batches_of_one_image_teach_batchnorm_nothing(cnn: Inside, here: Path) -> None:
    """`cnn train` ends with the same error."""
    for name, content in (("a", b""), ("b", b""), ("c", None)):
        place = here / f"{name}.png"
        if content is None:
            Image.new("L", (8, 8), 9).save(place)
        else:
            place.write_bytes(content)
    Path("tags.csv").write_text("path,label\na.png,x\nb.png,y\nc.png,x|y\n")
    layers = ["global_avgpool", {"linear": 3}, "batchnorm", {"linear": "classes"}]
    data = {"root": "tags.csv", "labels": "multiple", "val_split": 0, "image_size": 8}
    Path("c.yaml").write_text(json.dumps({"data": data, "model": {"layers": layers}}))
    for command in ("lr", "train"):
        outcome = cnn(command, "c.yaml", "train.precise_bn=false", "--threads", 1)
        assert (outcome.code, outcome.out) == (4, "")
        assert outcome.err.splitlines()[-1] == (
            f"cnn: {here}/tags.csv: must hold two readable images in a batch, for batchnorm to "
            "learn from. Got one per batch."
        )


def test_the_picture(cnn: Inside, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    outcome = cnn("lr", "tiny.yaml", "--steps", 20, "--plot", tmp_path / "lr.png")
    assert (outcome.code, outcome.err) == (0, "")
    with Image.open(tmp_path / "lr.png") as image:
        assert (image.format, image.size) == ("PNG", (770, 495))
    assert [path.name for path in tmp_path.iterdir()] == ["lr.png"]


def test_its_time_is_limited(cnn: Inside) -> None:
    outcome = cnn("lr", "tiny.yaml", "--time-limit", "0.0001s")
    assert (outcome.code, outcome.err) == (75, "")
    assert "suggestion  none: more steps are needed\n" in outcome.out
    assert "end         time limit at 1e-06, after 1 of 100 steps\n" in outcome.out
    assert "next" not in outcome.out
    document = json.loads(cnn("lr", "tiny.yaml", "--time-limit", "0.0001s", "--json").out)
    assert (document["suggestion"], document["settings"]) == (None, {})


def test_a_picture_needs_matplotlib(cnn: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lr, "find_spec", lambda _: None)
    outcome = cnn("lr", "gone.yaml", "--plot", "lr.png")
    message = "cnn: --plot: needs matplotlib; install it with pip install 'cnn-cli[report]'.\n"
    assert (outcome.code, outcome.out, outcome.err) == (2, "", message)


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("lr", 2, "lr: needs CONFIG. Got nothing."),
        ("lr tiny.yaml --steps 19", 2, "--steps: must be a whole number, 20 or more. Got '19'."),
        ("lr tiny.yaml --plot lr.jpg", 2, "--plot: must be a .png file. Got 'lr.jpg'."),
        ("lr tiny.yaml --plot no/lr.png", 4, "no/lr.png: cannot be written. Got no such folder."),
        ("lr tiny.yaml --time-limit 0", 2, "--time-limit: must be a time above 0, as 90s, 25m or "),
        ("lr tiny.yaml train.lr=1", 3, "tiny.yaml: train.lr: unknown key."),
        ("lr tiny.yaml --plott x", 2, "--plott: no such option of lr. Did you mean '--plot'?"),
        ("lr tiny.yaml --data gone", 4, "gone: must be a folder with"),
    ],
)
def test_errors(cnn: Inside, line: str, code: int, message: str) -> None:
    outcome = cnn(*line.split())
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err


def test_its_memory_is_limited(cnn: Inside) -> None:
    outcome = cnn("lr", "tiny.yaml", "--memory", "1K")
    start = "cnn: tiny.yaml: model: the network needs more memory than --memory allows. Got "
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.startswith(start)
    assert cnn("lr", "tiny.yaml", "--memory", "1G", "--steps", 20).code == 0
