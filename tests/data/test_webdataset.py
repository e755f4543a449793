"""WebDataset shards as data roots: samples in tar archives, and braces in their names."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from data_samples import save_gray

from cnn_cli.data import archive_listing
from cnn_cli.data.archive_listing import expand_braces
from cnn_cli.data.decode import load_image
from cnn_cli.data.opening import open_dataset, open_labeled
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.roots import check_there, open_listing, plain_name
from cnn_cli.errors import DataError

PRE = Preprocess(4, 4, 1)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shard(name: str, files: dict[str, bytes]) -> None:
    with tarfile.open(name, "w") as made:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))


def picture(i: int) -> bytes:
    return save_gray(Path(f"made/{i}.png"), seed=i).read_bytes()


def test_shards() -> None:
    shard("s-08.tar", {"0.png": picture(0), "0.cls": b"10\n", "1.png": picture(1), "1.cls": b"9"})
    labeled = json.dumps({"width": 4, "label": 10}).encode()
    shard("s-09.tar", {"a/2.PNG": picture(2), "a/2.json": labeled, "a/3.txt": b"x"})
    shard("s-10.tar", {"4.x.png": picture(5), "4.png": picture(4), "4.cls": b"9", "4.json": b"{}"})
    root = Path("s-{08..10}.tar")
    dataset = open_dataset(root, None, 0.0)
    assert dataset.classes == ("9", "10")
    assert dataset.train.paths == [
        "s-08.tar/1.png",
        "s-10.tar/4.png",
        "s-08.tar/0.png",
        "s-09.tar/a/2.PNG",
    ]
    assert dataset.base == ""
    assert dataset.remarks == ("1 .png and 1 .txt left out",)
    np.testing.assert_array_equal(load_image("s-10.tar/4.png", PRE), load_image("made/4.png", PRE))
    assert open_labeled(root, [str(i) for i in range(11)], "val").labels.tolist() == [9, 9, 10, 10]
    assert open_labeled(root, [f"class {i}" for i in range(11)], "val").labels.tolist() == [
        *(9, 9, 10, 10)
    ]
    one = open_dataset(Path("s-08.tar"), None, 0.0)
    assert one.train.paths == ["s-08.tar/1.png", "s-08.tar/0.png"]
    assert plain_name(root) == "s"
    check_there(root)
    Path("s-08.tar").unlink()
    with pytest.raises(DataError) as caught:
        open_listing(root)
    assert caught.value.line() == "s-08.tar: cannot be read. Got no such file or directory."
    with pytest.raises(DataError):
        check_there(root)


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("a-{0..2}.tar", ["a-0.tar", "a-1.tar", "a-2.tar"]),
        ("{008..010}", ["008", "009", "010"]),
        ("{8..10}", ["8", "9", "10"]),
        ("{a,b}-{1..2}", ["a-1", "a-2", "b-1", "b-2"]),
        ("a.tar", None),
        ("{a}.tar", None),
    ],
)
def test_braces(pattern: str, paths: list[str] | None) -> None:
    assert expand_braces(pattern) == paths


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({"0.png": b"x"}, "s.tar/0.png: must have a .cls or .json beside it. Got neither."),
        (
            {"0.png": b"x", "0.PNG": b"x", "0.cls": b"1"},
            "s.tar/0.png: must be the only file of its kind in its sample. Got '0.PNG' too.",
        ),
        (
            {"0.png": b"x", "0.jpg": b"x", "0.cls": b"1"},
            "s.tar/0.png: must be the only image of its sample. Got '0.jpg' too.",
        ),
        ({"0.png": b"x", "0.cls": b" "}, "s.tar/0.cls: must be one label. Got nothing."),
        ({"0.png": b"x", "0.cls": b"a\nb"}, "s.tar/0.cls: must be one label. Got several lines."),
        ({"0.png": b"x", "0.cls": b"\xff"}, "s.tar/0.cls: must be UTF-8 text."),
        ({"0.png": b"x", "0.json": b"{"}, "s.tar/0.json: must be JSON."),
        ({"0.png": b"x", "0.json": b"[" * 100_000}, "s.tar/0.json: must be JSON."),
        (
            {"0.png": b"x", "0.json": b'{"label": true}'},
            "s.tar/0.json: must be an object with cls, label, class, category, target: "
            "a name or a number.",
        ),
        (
            {"0.png": b"x", "0.cls": bytes(2**20 + 1)},
            "s.tar/0.cls: must have at most 1,048,576 bytes.",
        ),
        (
            {"0.cls": b"1"},
            "s.tar: must hold samples: images with a .cls or .json beside them. Got none.",
        ),
    ],
)
def test_shards_that_are_not_right(files: dict[str, bytes], line: str) -> None:
    shard("s.tar", files)
    with pytest.raises(DataError) as caught:
        archive_listing.ShardListing(Path("s.tar"), ["s.tar"])
    assert caught.value.line() == line


def test_patterns_that_are_not_right() -> None:
    for pattern, line in (
        ("{5..2}.tar", "{5..2}.tar: must count up in its braces. Got {5..2}."),
        (
            "{0..999}-{0..999}.tar",
            "{0..999}-{0..999}.tar: must expand to at most 100,000 archives. Got 1000000.",
        ),
        (
            "{0..99999999999999999999}.tar",
            "{0..99999999999999999999}.tar: must expand to at most 100,000 archives. "
            "Got 1000000000000.",
        ),
    ):
        with pytest.raises(DataError) as caught:
            open_listing(Path(pattern))
        assert caught.value.line() == line
