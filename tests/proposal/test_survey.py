"""The survey of a folder of images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cnn_cli.data.depth import Depth
from cnn_cli.data.opening import open_dataset
from cnn_cli.errors import DataError
from cnn_cli.proposal.survey import SAMPLE, survey


def paint(place: Path, count: int, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    """Write random images, `size` being width and height."""
    place.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(place)))
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    for i in range(count):
        pixels = rng.integers(0, 256, shape, np.uint8)
        Image.fromarray(pixels).save(place / f"{i}.png")


def test_a_folder_of_classes(tmp_path: Path) -> None:
    paint(tmp_path / "cat", 30)
    paint(tmp_path / "dog", 60)
    found = survey(tmp_path, 2)
    assert found.classes == ("cat", "dog")
    assert (found.width, found.height, found.uniform, found.gray) == (6, 4, True, False)
    assert (found.looked_at, found.unreadable, found.test) == (90, 0, 0)
    assert found.val_split is not None
    # The counts equal those of the training.
    dataset = open_dataset(tmp_path, None, found.val_split)
    assert dataset.val is not None
    assert found.train == tuple(np.bincount(dataset.train.labels))
    assert found.val == tuple(np.bincount(dataset.val.labels))


def test_folders_of_parts(tmp_path: Path) -> None:
    for part, count in (("train", 5), ("val", 3), ("test", 2)):
        paint(tmp_path / part / "a", count)
        paint(tmp_path / part / "b", count)
    found = survey(tmp_path, 1)
    assert (found.train, found.val, found.test, found.val_split) == ((5, 5), (3, 3), 4, None)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 12])
def test_each_class_has_some_of_both_parts_where_it_can(tmp_path: Path, count: int) -> None:
    for name in "abcd":
        paint(tmp_path / f"class {name}{'x' * ord(name)}", count)
    found = survey(tmp_path, 1)
    assert min(found.train) >= 1
    assert (found.val is None) == (count == 1)
    if count >= 5:
        assert found.val is not None
        assert min(found.val) >= 1


def test_gray_pictures_in_any_mode(tmp_path: Path) -> None:
    paint(tmp_path / "a", 2, mode="L")
    paint(tmp_path / "b", 2, mode="L")
    for i in range(3):
        gray = Image.open(tmp_path / "a" / "0.png").convert("RGB").resize((40, 40))
        gray.save(tmp_path / "b" / f"colour mode {i}.jpg")
    assert survey(tmp_path, 1).gray
    paint(tmp_path / "c", 2)
    assert not survey(tmp_path, 1).gray


def test_turned_photographs_have_the_size_that_is_seen(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (30, 10)).save(tmp_path / name / "x.jpg", exif=exif)
    found = survey(tmp_path, 1)
    assert (found.width, found.height) == (10, 30)


def test_some_of_many_pictures_are_read(tmp_path: Path) -> None:
    paint(tmp_path / "many", 1)
    picture = tmp_path / "many" / "0.png"
    for i in range(1, 400):
        (tmp_path / "many" / f"{i}.png").hardlink_to(picture)
    paint(tmp_path / "few", 3)
    found = survey(tmp_path, 2)
    assert found.looked_at == SAMPLE // 2 + 3
    assert found.train_images + found.val_images == 403


def test_pictures_that_cannot_be_read(tmp_path: Path) -> None:
    paint(tmp_path / "a", 2)
    paint(tmp_path / "b", 2)
    (tmp_path / "a" / "bad.png").write_bytes(b"no")
    found = survey(tmp_path, 1)
    assert (found.looked_at, found.unreadable, len(found.sample)) == (5, 1, 4)
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"no")
    with pytest.raises(DataError) as caught:
        survey(tmp_path, 1)
    rule = "must hold a readable image. Got 5 that cannot, such as"
    assert caught.value.line().startswith(f"{tmp_path}: {rule} {tmp_path}/a/")
    assert caught.value.line().endswith(".png: not an image Pillow can read.")


def test_what_is_left_out_and_files_of_several_frames_are_said(tmp_path: Path) -> None:
    for name in ("a", "b"):
        paint(tmp_path / name, 2)
    (tmp_path / "a" / "notes.txt").touch()
    frames = [Image.new("L", (4, 4), value) for value in (0, 255)]
    for kind in ("gif", "tif"):
        place = tmp_path / "b" / f"some.{kind}"
        frames[0].save(place, save_all=True, append_images=frames[1:])
    assert survey(tmp_path, 1).remarks == (
        "1 .txt left out",
        f"2 files with several frames, as {tmp_path}/b/some.gif: the first of each is taken",
    )


@pytest.mark.parametrize(
    ("values", "bands", "depth"),
    [
        (np.full((4, 6, 5), 300, np.uint16), 5, 16),
        (np.full((4, 6), 0.5), 1, "float"),
        (np.full((4, 6, 2), 7, np.uint8), 2, 8),
    ],
)
def test_bands_and_depth_are_recognized(
    tmp_path: Path, values: NDArray[Any], bands: int, depth: Depth
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(4):
            np.save(tmp_path / name / f"{i}.npy", values)
    paint(tmp_path / "a", 1)
    found = survey(tmp_path, 1)
    # One color image is ignored for bands, and converted among real numbers.
    mixed = (3, 0) if bands == 1 else (bands, 1)
    assert (found.bands, found.unreadable, found.depth) == (*mixed, depth)
    (tmp_path / "a" / "0.png").unlink()
    found = survey(tmp_path, 1)
    assert (found.bands, found.depth, found.unreadable) == (bands, depth, 0)
    assert (found.width, found.height) == (6, 4)


def test_sixteen_bit_color_without_tifffile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile = pytest.importorskip("tifffile")
    for name in "ab":
        paint(tmp_path / name, 2)
    values = np.full((4, 6, 3), 300, np.uint16)
    tifffile.imwrite(tmp_path / "a" / "deep.tif", values, photometric="rgb")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    found = survey(tmp_path, 1)
    assert (found.bands, found.depth, found.unreadable, found.looked_at) == (3, 8, 0, 5)
