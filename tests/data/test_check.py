"""Problems found in a folder of images before training."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_samples import encoded, make_folders, noise, photograph, save_gray
from PIL import Image

from cnn_cli.data import check, examine
from cnn_cli.data.check import check_folder
from cnn_cli.errors import DataError

ENOUGH = {"cat": 12, "dog": 12}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes without problems."""
    return make_folders(tmp_path / "photos", ENOUGH)


@pytest.fixture(autouse=True)
def small_pictures_are_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' images are 4 pixels wide."""
    monkeypatch.setattr(check, "SMALL_SIDE", 4)


def found(root: Path, threads: int = 2) -> list[tuple[str, tuple[str, ...], str]]:
    """Return kind, paths below the root, and detail of each finding."""
    findings = check_folder(root, threads)
    return [
        (one.kind, tuple(os.path.relpath(path, root) for path in one.paths), one.detail)
        for one in findings.found
    ]


def save(path: Path, image: Image.Image, kind: str = "PNG", **options: object) -> None:
    path.write_bytes(encoded(image, kind, **options))


def test_nothing_to_find(photos: Path) -> None:
    findings = check_folder(photos, 2)
    assert findings.found == ()
    assert findings.error is None
    assert findings.parts == {"all": ENOUGH}


def test_parts(tmp_path: Path) -> None:
    for i, part in enumerate(("train", "validation", "test")):
        for number in range(2 * 10):
            save_gray(tmp_path / part / "ab"[number % 2] / f"{number}.png", seed=100 * i + number)
    findings = check_folder(tmp_path, 1)
    assert findings.found == ()
    assert findings.parts == {part: {"a": 10, "b": 10} for part in ("test", "train", "val")}


def test_unreadable(photos: Path) -> None:
    whole = (photos / "cat/000.png").read_bytes()
    (photos / "cat/cut.png").write_bytes(whole[: len(whole) // 2])
    (photos / "cat/text.jpg").write_text("hello")
    (photos / "dog/gone.png").symlink_to("nowhere")
    (photos / "dog/loop.png").symlink_to("loop.png")
    assert found(photos) == [
        ("unreadable", ("cat/cut.png",), "truncated or damaged"),
        ("unreadable", ("cat/text.jpg",), "not an image Pillow can read"),
        ("unreadable", ("dog/gone.png",), "cannot be read: no such file or directory"),
        ("unreadable", ("dog/loop.png",), "cannot be read: too many levels of symbolic links"),
    ]
    assert check_folder(photos, 2).parts == {"all": ENOUGH}


def test_broken_files_are_no_copies(photos: Path) -> None:
    for name in ("cat", "dog"):
        (photos / name / "empty.png").touch()
    assert [kind for kind, *_ in found(photos)] == ["unreadable", "unreadable"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_cannot_be_entered(photos: Path) -> None:
    locked = photos / "cat/locked"
    locked.mkdir(mode=0)
    assert found(photos) == [("unreadable", ("cat/locked",), "cannot be read: permission denied")]
    assert str(check_folder(photos, 1).error) == f"{locked}: cannot be read. Got permission denied."


def test_copies(tmp_path: Path) -> None:
    for part in ("train", "val"):
        make_folders(tmp_path / part, ENOUGH)
        for path in (tmp_path / part).rglob("*.png"):
            if part == "val":  # other images than in train
                path.write_bytes(path.read_bytes() + b"\0")
    shutil.copy(tmp_path / "train/cat/001.png", tmp_path / "train/cat/x.png")
    shutil.copy(tmp_path / "train/cat/002.png", tmp_path / "train/dog/x.png")
    shutil.copy(tmp_path / "train/dog/003.png", tmp_path / "val/dog/x.png")
    shutil.copy(tmp_path / "train/dog/004.png", tmp_path / "val/cat/y.png")
    assert found(tmp_path) == [
        ("two_classes", ("train/cat/002.png", "train/dog/x.png"), ""),
        ("two_classes", ("train/dog/004.png", "val/cat/y.png"), ""),
        ("two_parts", ("train/dog/003.png", "val/dog/x.png"), ""),
        ("two_parts", ("train/dog/004.png", "val/cat/y.png"), ""),
        ("copies", ("train/cat/001.png", "train/cat/x.png"), ""),
    ]


def test_small_empty_and_unbalanced_classes(tmp_path: Path) -> None:
    make_folders(tmp_path, {"a": 0, "b": 1, "c": 9, "d": 10})
    (tmp_path / "a/broken.png").touch()
    assert found(tmp_path)[1:] == [
        ("empty_class", ("a",), ""),
        ("small_class", ("b",), "1 image"),
        ("small_class", ("c",), "9 images"),
        ("imbalance", ("d", "b"), "10 images and 1, 10 times as many"),
    ]
    error = check_folder(tmp_path, 1).error  # with which training stops, after its first epoch
    assert error is not None
    assert error.line() == f"{tmp_path / 'a'}: must hold a readable image. Got 1 that cannot."
    (tmp_path / "a/broken.png").unlink()
    assert str(check_folder(tmp_path, 1).error) == (
        f"{tmp_path}/a: must hold at least one image. Got none."
    )


def test_validation_may_be_small_and_unbalanced(tmp_path: Path) -> None:
    make_folders(tmp_path / "train", ENOUGH)
    make_folders(tmp_path / "val", {"cat": 1, "dog": 12})
    for path in (tmp_path / "val").rglob("*.png"):
        path.write_bytes(path.read_bytes() + b"\0")
    assert found(tmp_path) == []


def test_classes_that_do_not_match(tmp_path: Path) -> None:
    make_folders(tmp_path / "train", {"cat": 10, "dog": 10, "fox": 10})
    for part, names in (("val", ("Cat", "dog")), ("test", ("cat", "dog", "fox"))):
        for number, name in enumerate(names):
            save_gray(tmp_path / part / name / "x.png", seed=len(part) * 10_000 + number)
    assert found(tmp_path) == [
        ("unknown_class", ("val/Cat",), ""),
        ("missing_class", ("train/cat",), "not in val"),
        ("missing_class", ("train/fox",), "not in val"),
        ("similar_classes", ("test/cat", "val/Cat"), ""),
    ]
    assert str(check_folder(tmp_path, 1).error) == (
        f"{tmp_path}/val/Cat: must be a class that train has. Did you mean 'cat'?"
    )


def test_names_that_differ_in_how_an_accent_is_written(tmp_path: Path) -> None:
    make_folders(tmp_path, {"caf\u00e9": 10, "cafe\u0301": 10, "CAFE": 10})
    assert found(tmp_path) == [("similar_classes", ("cafe\u0301", "caf\u00e9"), "")]


def test_parts_beside_another_folder_are_no_classes(photos: Path) -> None:
    make_folders(photos, {"train": 10})
    with pytest.raises(DataError) as caught:
        check_folder(photos, 1)
    assert caught.value.line().endswith("makes them classes. Got train beside cat and dog.")


def test_sizes(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "LARGE_PIXELS", 100 * 100)
    sizes = {"high": (200, 40), "large": (101, 100), "full": (100, 100), "thin": (1, 1)}
    for number, (name, (height, width)) in enumerate(sizes.items()):
        save(photos / f"dog/{name}.png", Image.fromarray(noise(height, width, 1, 10**4 + number)))
    save(photos / "dog/wide.png", Image.fromarray(noise(10, 51, 1, 99_999)))
    assert found(photos) == [
        ("small", ("dog/thin.png",), "1x1"),
        ("large", ("dog/large.png",), "100x101"),
        ("narrow", ("dog/wide.png",), "51x10"),
    ]


def test_kinds_of_images(tmp_path: Path) -> None:
    make_folders(tmp_path, {"a": 0, "b": 0})
    for i in range(20):
        save(tmp_path / "ab"[i % 2] / f"{i}.png", Image.fromarray(noise(8, 8, 3, i)))
    color, gray = (Image.fromarray(noise(8, 8, channels, 50)) for channels in (3, 1))
    save(tmp_path / "a/moving.gif", color, "GIF", save_all=True, append_images=[gray])
    save(tmp_path / "a/still.gif", color, "GIF")
    save(tmp_path / "a/print.jpg", color.convert("CMYK"), "JPEG")
    save(tmp_path / "a/scan.tif", gray.convert("F"), "TIFF")
    save(tmp_path / "a/sixteen.png", gray.convert("I;16"))
    save(tmp_path / "b/bits.png", gray.convert("1"))
    save(tmp_path / "b/clear.png", color.convert("RGBA"))
    assert found(tmp_path) == [
        ("mode", ("a/moving.gif",), "animated"),
        ("mode", ("a/print.jpg",), "CMYK"),
        ("mode", ("a/scan.tif",), "floating-point"),
        ("mode", ("a/sixteen.png",), "16-bit"),
        ("mode", ("b/bits.png",), "gray where most are color"),
        ("mode", ("b/clear.png",), "transparent where most are color"),
    ]


def test_color_of_16_bits(tmp_path: Path) -> None:
    make_folders(tmp_path, {"a": 0, "b": 10})
    pixels = noise(10, 6 * 10, 1).tobytes()
    rows = b"".join(b"\0" + pixels[start : start + 60] for start in range(0, 600, 60))
    header = struct.pack(">IIBBBBB", 10, 10, 16, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    for i in range(10):
        text = (b"tEXt", b"Title\0%d" % i)
        chunks = [_chunk(kind, body) for kind, body in (parts[0], text, *parts[1:])]
        (tmp_path / f"a/{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    assert found(tmp_path) == [("mode", (f"a/{i}.png",), "16-bit") for i in range(10)]


def _chunk(kind: bytes, body: bytes) -> bytes:
    check_sum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check_sum)


def test_files_in_the_wrong_place(photos: Path) -> None:
    (photos / "cat/notes.txt").write_text("x")
    (photos / "cat/deep").mkdir()
    (photos / "cat/deep/raw.cr2").write_text("x")
    (photos / "cat/.hidden.txt").write_text("x")
    (photos / "readme.md").write_text("x")
    save_gray(photos / "lost.png", seed=123_456)
    save_gray(photos / ".hidden.png", seed=123_457)
    assert found(photos) == [
        ("not_image", ("cat/deep/raw.cr2",), ""),
        ("not_image", ("cat/notes.txt",), ""),
        ("outside", ("lost.png",), ""),
    ]


def test_images_beside_the_classes_of_a_part(tmp_path: Path) -> None:
    make_folders(tmp_path / "train", ENOUGH)
    save_gray(tmp_path / "train/lost.png", seed=10**6)
    assert found(tmp_path) == [("outside", ("train/lost.png",), "")]


@pytest.mark.parametrize("threads", [1, 3])
def test_more_images_than_are_read_at_once(
    tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examine, "JOB", 2)
    make_folders(tmp_path, {"a": 30, "b": 31})
    (tmp_path / "b/030.png").write_bytes(b"x")
    steps: list[tuple[int, int]] = []
    findings = check_folder(tmp_path, threads, lambda done, total: steps.append((done, total)))
    assert findings.parts == {"all": {"a": 30, "b": 30}}
    assert [one.paths for one in findings.found] == [(str(tmp_path / "b/030.png"),)]
    assert steps == [(min(2 * i, 61), 61) for i in range(1, 32)]


def test_nothing_is_changed(photos: Path) -> None:
    def state() -> list[tuple[str, float, int]]:
        return [
            (str(path), path.stat().st_mtime, path.stat().st_size)
            for path in sorted(photos.rglob("*"))
        ]

    (photos / "cat/broken.png").touch()
    before = state()
    check_folder(photos, 2)
    assert state() == before


def test_images_that_cannot_be_read_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").touch()
    findings = check_folder(tmp_path, 1)
    assert str(findings.error) == (f"{tmp_path}: must hold a readable image. Got 2 that cannot.")


def test_one_class(tmp_path: Path) -> None:
    make_folders(tmp_path, {"a": 10})
    findings = check_folder(tmp_path, 1)
    assert findings.found == ()
    assert str(findings.error) == f"{tmp_path}: must hold at least two classes. Got one: 'a'."


def test_only_validation(tmp_path: Path) -> None:
    make_folders(tmp_path / "val", {"a": 10, "b": 10})
    assert (
        str(check_folder(tmp_path, 1).error) == f"{tmp_path}: must have a 'train' folder. Got val."
    )


def test_no_class_folder(tmp_path: Path) -> None:
    save_gray(tmp_path / "x.png")
    with pytest.raises(DataError) as caught:
        check_folder(tmp_path, 1)
    assert str(caught.value) == (
        f"{tmp_path}: must be a folder with a sub-folder of images for each class. "
        "Got no sub-folder."
    )


def test_near_copies(tmp_path: Path) -> None:
    for part in ("train", "val"):
        make_folders(tmp_path / part, ENOUGH)
        for path in (tmp_path / part).rglob("*.png"):  # all with hardly any contrast
            path.write_bytes(encoded(Image.new("L", (9, 9), 100)) + os.urandom(8))
    for seed, (first, second) in enumerate(
        (
            ("train/cat/a.png", "train/cat/b.jpg"),
            ("train/cat/c.png", "train/dog/d.jpg"),
            ("train/cat/e.png", "val/cat/f.jpg"),
            ("train/cat/g.png", "val/dog/h.jpg"),
        )
    ):
        save(tmp_path / first, photograph(100 * seed))
        save(tmp_path / second, photograph(100 * seed).resize((100, 100)), "JPEG", quality=60)
    # Copies are not near-duplicates.
    for number in range(2):
        save(tmp_path / f"train/dog/i{number}.png", photograph(900))
    shutil.copy(tmp_path / "train/cat/a.png", tmp_path / "train/cat/a2.png")

    assert found(tmp_path) == [
        ("copies", ("train/cat/a.png", "train/cat/a2.png"), ""),
        ("copies", ("train/dog/i0.png", "train/dog/i1.png"), ""),
    ]
    findings = check_folder(tmp_path, 2, near=4)
    near = [
        (one.kind, tuple(os.path.relpath(path, tmp_path) for path in one.paths))
        for one in findings.found
        if one.kind.startswith("near")
    ]
    assert near == [
        ("near_two_classes", ("train/cat/c.png", "train/dog/d.jpg")),
        ("near_two_classes", ("train/cat/g.png", "val/dog/h.jpg")),
        ("near_two_parts", ("train/cat/e.png", "val/cat/f.jpg")),
        ("near_two_parts", ("train/cat/g.png", "val/dog/h.jpg")),
        ("near_copies", ("train/cat/a.png", "train/cat/a2.png", "train/cat/b.jpg")),
    ]
    assert {one.detail for one in findings.found if one.kind == "near_copies"} == {"distance 0"}
    assert findings.near == check.NearSearch(4, 11, 48)


def test_of_many_near_copies_one_of_each_class_comes_first(photos: Path) -> None:
    for number in range(5):
        save(photos / f"cat/x{number}.jpg", photograph(0), "JPEG", quality=50 + 5 * number)
    save(photos / "dog/y.png", photograph(0))
    across = [
        one
        for one in check_folder(photos, 2, near=8).found
        if one.kind == "near_two_classes" and "y.png" in one.paths[1]
    ]
    assert [os.path.basename(path) for path in across[0].paths][:3] == ["x0.jpg", "y.png", "x1.jpg"]


def test_bands_and_bits(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (24, 8, 9, 5), dtype=np.uint16)
    for i, each in enumerate(values):
        place = tmp_path / "ab"[i % 2]
        place.mkdir(exist_ok=True)
        np.save(place / f"{i:02}.npy", each)
    assert found(tmp_path) == []
    np.save(tmp_path / "a" / "four.npy", values[0, ..., :4])
    np.save(tmp_path / "a" / "real.npy", values[0] / 7)
    np.save(tmp_path / "b" / "none.npy", np.zeros(5))
    np.save(tmp_path / "b" / "not.npy", np.full((8, 9, 5), np.nan))
    save(tmp_path / "b" / "photo.png", Image.fromarray(noise(8, 9, 3)))
    usual = "where most are 5 bands, 16-bit"
    assert found(tmp_path) == [
        (
            "unreadable",
            ("b/none.npy",),
            "must be an array of (height, width) or (height, width, bands): shape (5,)",
        ),
        ("unreadable", ("b/not.npy",), "holds a number that is not finite"),
        ("mode", ("a/four.npy",), f"4 bands, 16-bit {usual}"),
        ("mode", ("a/real.npy",), f"5 bands, floating-point {usual}"),
        ("mode", ("b/photo.png",), f"color {usual}"),
    ]


@pytest.mark.parametrize(("dtype", "kind"), [(np.uint16, "16-bit"), (np.float32, "floating-point")])
def test_a_folder_of_more_bits(tmp_path: Path, dtype: Any, kind: str) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (24, 8, 9)).astype(dtype)
    for i, each in enumerate(values):
        path = tmp_path / "ab"[i % 2] / f"{i:02}.tif"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(Image.fromarray(each), "TIFF"))
    assert found(tmp_path) == []
    save(tmp_path / "b" / "photo.png", Image.fromarray(noise(8, 9, 3)))
    assert found(tmp_path) == [("mode", ("b/photo.png",), f"color where most are {kind}")]


def test_arrays_of_bytes_are_pictures(tmp_path: Path) -> None:
    for i in range(24):
        place = tmp_path / "ab"[i % 2]
        place.mkdir(exist_ok=True)
        np.save(place / f"{i:02}.npy", noise(8, 9, 3, seed=i))
    save(tmp_path / "a" / "photo.png", Image.fromarray(noise(8, 9, 3, seed=99)))
    assert found(tmp_path) == []


def test_images_of_several_labels(tmp_path: Path) -> None:
    (tmp_path / "pics").mkdir()
    lines = ["path,label"]
    for i in range(12):
        save(tmp_path / "pics" / f"{i:02}.png", Image.fromarray(noise(8, 9, 3, seed=i)))
        lines.append(f"pics/{i:02}.png,{'b|a' if i % 2 else 'a'}")
    for name, labels in {"copy": "a", "same": "a|b", "unlike": "none"}.items():
        save(tmp_path / "pics" / f"{name}.png", Image.fromarray(noise(8, 9, 3, seed=1)))
        lines.append(f"pics/{name}.png,{labels}")
    root = tmp_path / "tags.csv"
    root.write_text("\n".join(lines))
    findings = check_folder(root, 2, separator="|")
    assert findings.error is None
    assert (findings.parts, findings.images) == ({"all": {"a": 14, "b": 7}}, {"all": 15})
    assert [
        (one.kind, tuple(Path(path).stem for path in one.paths)) for one in findings.found[:2]
    ] == [
        ("two_classes", ("01", "copy", "unlike", "same")),
        ("copies", ("01", "same")),
    ]
    (one,) = findings.found[2:]
    assert (one.kind, one.paths, one.detail) == ("small_class", (f"{root}:3 (b)",), "7 images")
