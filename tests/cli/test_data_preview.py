"""`cnn data preview`: image, output and errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_program import Inside
from PIL import Image

from cnn_cli.cli.data_preview import augment_text
from cnn_cli.config import AugmentConfig

LINE = "6 of 24 training images, epoch 1"


@pytest.fixture(autouse=True)
def _here(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder to write in; config and images are elsewhere."""
    monkeypatch.chdir(tmp_path)


def test_a_picture(cnn: Inside, project: Path) -> None:
    line = ("data", "preview", project / "tiny.yaml", "--rows", 2, "--columns", 3)
    outcome = cnn(*line)
    assert (outcome.code, outcome.out, outcome.err) == (0, f"preview.png: {LINE}\n", "")
    first = Path("preview.png").read_bytes()
    with Image.open("preview.png") as image:
        assert image.format == "PNG"
    assert cnn(*line, "--threads", 1, "--output", "again.png").code == 0
    assert Path("again.png").read_bytes() == first
    assert cnn(*line, "augment.hflip=1", "--output", "other.png").code == 0
    assert Path("other.png").read_bytes() != first


def test_json(cnn: Inside, project: Path) -> None:
    outcome = cnn(
        *("data", "preview", project / "tiny.yaml", "augment.mixup=1", "--epoch", 2, "--json"),
        *("--data", project / "photos", "--output", "x.png", "--rows", 1, "--columns", 4),
    )
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    assert (document["output"], document["epoch"]) == ("x.png", 2)
    assert len(document["images"]) == 4
    for image in document["images"]:
        assert Path(image["path"]).parent.parent == project / "photos/train"
        assert sum(image["labels"].values()) == pytest.approx(1)
        assert Path(image["path"]).parent.name in image["labels"]


def test_fewer_images_than_places(cnn: Inside, project: Path) -> None:
    outcome = cnn("data", "preview", project / "tiny.yaml", "--rows", 50)
    assert outcome.out == "preview.png: 24 of 24 training images, epoch 1\n"


def test_what_is_refused(cnn: Inside, project: Path) -> None:
    config = project / "tiny.yaml"
    for arguments, code, message in (
        (["none.yaml"], 3, "none.yaml: cannot be read. Got no such file or directory."),
        (
            [config, "augment.hflp=1"],
            3,
            f"{config}: augment.hflp: unknown key. Did you mean 'hflip'?",
        ),
        ([config, "--epoch", 3], 2, "--epoch: must be at most train.epochs, 2. Got 3."),
        ([config, "--output", "no/x.png"], 4, "no/x.png: cannot be written. Got no such folder."),
        (
            [config, "--data", "nope"],
            4,
            f"{Path.cwd()}/nope: must be a folder with a sub-folder of images for each class."
            " Got no such folder.",
        ),
    ):
        outcome = cnn("data", "preview", *arguments)
        assert (outcome.code, outcome.out, outcome.err) == (code, "", f"cnn: {message}\n")
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({}, "as they are"),
        ({"hflip": 0.5, "cutmix": True}, "hflip 0.5, cutmix"),
        ({"pad_crop": 4, "trivialaugment": True}, "pad_crop (padding 4), trivialaugment"),
        ({"random_erase": {"size": 8}}, "random_erase (p 1, size 8)"),
        ({"tta": "hflip"}, "as they are"),
    ],
)
def test_what_is_on(section: dict[str, object], text: str) -> None:
    assert augment_text(AugmentConfig.model_validate(section)) == text
