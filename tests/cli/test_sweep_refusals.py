"""`cnn sweep`: values and folders that it refuses or skips."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_program import Inside, Outcome, csv_rows
from hardship import contents

IMPOSSIBLE: list[tuple[str, str, str, list[str], int, str]] = [
    (
        "train.progressive_resizing.initial_scale",
        "0.25,0.3",
        "0.75",
        ["model.layers.0.conv.kernel_size=7", "data.image_size=16"],
        3,
        "CONFIG: train.progressive_resizing: the network does not fit images of 4x4: "
        "model.layers[0].conv: a 7x7 kernel does not fit its input of 6x6 (padding included). Got "
        "an input of 4x4x1.",
    ),
    (
        "train.class_weights",
        "[1,2],[2,1]",
        "[1,2,3]",
        [],
        3,
        "CONFIG: train.class_weights: must have one weight per class, 3. Got 2.",
    ),
    (
        "train.freeze",
        "[nothing],[nowhere]",
        "[]",
        [],
        3,
        "CONFIG: train.freeze: no parameter has such a name. Got 'nothing'.",
    ),
    (
        "model.layers.0.conv.out_channels",
        "5,6",
        "4",
        ["train.weights=TRAINED"],
        4,
        "TRAINED/best.npz: tensors do not match the network. Got misshapen layers.0/weight of "
        "shape (4, 1, 3, 3), not (5, 1, 3, 3), layers.0/bias of shape (4,), not (5,), "
        "layers.1/weight of shape (4,), not (5,), layers.1/bias of shape (4,), not (5,), "
        "layers.4/weight of shape (3, 4), not (3, 5) and 2 more.",
    ),
    (
        "train.weights",
        "gone.npz,./gone.npz",
        "TRAINED",
        [],
        4,
        "HERE/gone.npz: cannot be read. Got no such file or directory.",
    ),
    (
        "model.layers.0.conv.kernel_size",
        "99,98",
        "3",
        [],
        3,
        "CONFIG: model.layers[0].conv: a 99x99 kernel does not fit its input of 10x10 (padding "
        "included). Got an input of 8x8x1.",
    ),
]


@pytest.mark.parametrize(("key", "wrong", "right", "others", "code", "message"), IMPOSSIBLE)
def test_values_that_cannot_be_trained_are_skipped(
    cnn: Inside,
    project: Path,
    trained: Path,
    here: Path,
    key: str,
    wrong: str,
    right: str,
    others: list[str],
    code: int,
    message: str,
) -> None:
    """Values that make a valid config, which `train` refuses before its first step."""
    given = {"CONFIG": project / "tiny.yaml", "TRAINED": trained, "HERE": here}

    def filled(text: str) -> str:
        for name, place in given.items():
            text = text.replace(name, str(place))
        return text

    line = ("sweep", project / "tiny.yaml", "train.epochs=1", "--out", "a", *map(filled, others))
    outcome = cnn(*line, f"{key}={wrong}")
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err == f"cnn: {filled(message)}\n", "nothing is left to train"
    assert not Path("a").exists()
    line = (*line, filled(f"{key}={wrong},{right}"))
    outcome = cnn(*line)
    assert outcome.code == 0
    notes = [told for told in outcome.err.splitlines() if "skipped" in told]
    assert notes == [f"cnn: skipped, like others of its kind: {filled(message)}"]
    assert [row[key] for row in csv_rows(here / "a/sweep.csv")] == [filled(right)]
    before = contents(here / "a")
    assert cnn(*line, "--resume").code == 0
    assert contents(here / "a") == before


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "sweep: needs KEY=LOW..HIGH or KEY=a,b,c. Got nothing to search."),
        (
            ["train.optimizer.lr=0.1-1"],
            2,
            "sweep: needs KEY=LOW..HIGH or KEY=a,b,c. Got only train.optimizer.lr=0.1-1.",
        ),
        (
            ["train.epochs"],
            2,
            "train.epochs: an override is written KEY=VALUE, such as train.epochs=3.",
        ),
        (
            ["train.optimizer.lrr=1e-3..1e-1"],
            3,
            "CONFIG: train.optimizer.lrr: unknown key. Did you mean 'lr'?",
        ),
        (
            ["train.optimizer.lr=1e-1..1e-3"],
            3,
            "train.optimizer.lr=1e-1..1e-3: a range must begin below its end.",
        ),
        (
            ["train.optimizer.lr=-1..1"],
            3,
            "CONFIG: train.optimizer.lr: must be a number, 0 or more. Got -1.",
        ),
        (
            ["train.batch_size=1.5..8"],
            3,
            "CONFIG: train.batch_size: must be a whole number above 0. Got 1.5.",
        ),
        (
            ["train.optimizer.type=sgd,adamm"],
            3,
            "CONFIG: train.optimizer.type: must be one of sgd, adam, adamw, muon. Did you mean "
            "'adam'? Got 'adamm'.",
        ),
        (
            ["train.seed=0..9"],
            3,
            "CONFIG: train.seed: must be the same for all trials, or they could not be compared.",
        ),
        (
            ["train.epochs=1..9"],
            3,
            "CONFIG: train.epochs: must be the same for all trials, or they could not be compared.",
        ),
        (
            ["data.root=photos/train,photos"],
            3,
            "CONFIG: data.root: must be the same for all trials, or they could not be compared.",
        ),
        (
            ["train.optimizer.lr=0.1,0.2", "train.epochs=0"],
            3,
            "CONFIG: train.epochs: must be 1 or more, for trials to differ. Got 0.",
        ),
        (
            ["train.optimizer.lr=0.1,0.2", "data.val_split=0", "--data", "photos/train"],
            4,
            "photos/train: must have validation images, to compare trials.",
        ),
        (["train.optimizer.lr=0.1,0.2", "--data", "gone"], 4, "HERE/gone: must be a folder with"),
        (
            ["train.optimizer.lr=0.1,0.2", "--trials", "0"],
            2,
            "--trials: must be a whole number above 0. Got '0'.",
        ),
        (
            ["train.optimizer.lr=0.1,0.2", "--budget", "x"],
            2,
            "--budget: must be a time above 0, as 90s, 25m or 1h30m. Got 'x'.",
        ),
        (
            ["train.optimizer.lr=0.1,0.2", "--overwrite"],
            2,
            "--overwrite: no such option of sweep.",
        ),
    ],
)
def test_errors_come_before_anything_is_trained(
    cnn: Inside, project: Path, here: Path, words: list[str], code: int, message: str
) -> None:
    words = [word.replace("photos", str(project / "photos")) for word in words]
    outcome = cnn("sweep", project / "tiny.yaml", *words)
    message = message.replace("CONFIG", str(project / "tiny.yaml"))
    message = message.replace("photos", str(project / "photos")).replace("HERE", str(here))
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err.startswith(f"cnn: {message}"), outcome.err
    assert list(here.iterdir()) == []


def test_no_validation_image_can_be_read(cnn: Inside, project: Path, here: Path) -> None:
    """The first trial was the best one."""
    shutil.copytree(project / "photos", "photos")
    files = sorted((here / "photos/val").rglob("*.png"))
    count, first = len(files), files[0]
    for path in files:
        path.write_bytes(b"no image")
    words = ["train.optimizer.lr=0.1,0.2", "--data", "photos", "--backend", "numpy"]
    outcome = cnn("sweep", project / "tiny.yaml", *words, "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (
        4,
        "",
        f"cnn: {here}/photos: must have a validation image that can be read, to compare trials. "
        f"Got {count} that cannot, such as {first}: not an image Pillow can read.\n",
    )
    assert not Path("runs/tiny-sweep/best.yaml").exists()


@pytest.mark.parametrize(
    ("text", "code", "rule"),
    [
        *((text, 4, "must be as cnn sweep wrote it.") for text in ("", "{}", "[]", "\0")),
        (
            '{"config": 1, "space": [], "failed": {}}',
            3,
            "must be a mapping of keys to values. Got 1.",
        ),
    ],
)
def test_a_damaged_folder(
    cnn: Inside, project: Path, here: Path, text: str, code: int, rule: str
) -> None:
    Path("a").mkdir()
    Path("a/sweep.json").write_text(text)
    line = ("sweep", project / "tiny.yaml", "train.optimizer.lr=0.1,0.2", "--out", "a", "--resume")
    assert cnn(*line) == Outcome(code, "", f"cnn: a/sweep.json: {rule}\n")


def test_memory_is_limited(cnn: Inside, project: Path, here: Path) -> None:
    """All trials stay within the limit: values that need more are skipped or refused."""
    line = ("sweep", project / "tiny.yaml", "train.optimizer.lr=0.1,0.2", "--trials", 1, "--quiet")
    outcome = cnn(*line, "--memory", "1K")
    rule = "model: the network needs more memory than --memory allows. Got "
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.startswith(f"cnn: {project / 'tiny.yaml'}: {rule}")
    wide = "model.layers.0.conv.out_channels=4,100000000"
    outcome = cnn(*line[:-1], wide, "--memory", "1G", "train.epochs=1", "--trials", 4)
    assert outcome.code == 0
    assert f"cnn: skipped, like others of its kind: {project / 'tiny.yaml'}: {rule}" in outcome.err
    own = "model.layers.0.conv.out_channels"
    assert [row[own] for row in csv_rows(here / "runs/tiny-sweep/sweep.csv")] == ["4", "4"]
