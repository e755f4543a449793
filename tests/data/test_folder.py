"""The content of a folder, and its order."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from data_samples import make_folders, save_gray
from PIL import Image

from cnn_cli.data import folder
from cnn_cli.data.folder import EXTENSIONS, FolderListing, is_image_name, scan, walk_images
from cnn_cli.data.formats import FORMATS
from cnn_cli.data.listing import Listing, find_parts
from cnn_cli.errors import DataError


def below(root: Path) -> list[str]:
    return [os.path.relpath(path, root) for path in walk_images(str(root))]


def test_extensions_in_any_case() -> None:
    for name in ("a.png", "a.JPG", "a.b.Jpeg", "a.tiff", "a.webp", "é.gif"):
        assert is_image_name(name)
    for name in ("a.txt", "png", "a.png.txt", "a", "a.npz", "a.pdf"):
        assert not is_image_name(name)


def test_images_are_sorted_and_sub_folders_entered(tmp_path: Path) -> None:
    for name in ("b.png", "a/2.PNG", "a/1.png", "a/c/0.png", "A.jpg"):
        save_gray(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    assert below(tmp_path) == ["A.jpg", "a/1.png", "a/2.PNG", "a/c/0.png", "b.png"]


def test_hidden_entries_are_passed_over(tmp_path: Path) -> None:
    for name in ("a.png", ".b.png", ".c/d.png", "e/.f/g.png", "._a.png"):
        save_gray(tmp_path / name)
    assert below(tmp_path) == ["a.png"]
    (tmp_path / "e" / "k.png").mkdir()
    assert list(scan(tmp_path)[0]) == ["e"]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    save_gray(tmp_path / "a" / "1.png")
    save_gray(tmp_path / "elsewhere" / "2.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a" / "self").symlink_to("self")
    (tmp_path / "a" / "3.png").symlink_to("1.png")
    (tmp_path / "self").symlink_to("self")
    assert list(scan(tmp_path)[0]) == ["a", "elsewhere"]
    assert below(tmp_path / "a") == ["1.png", "3.png", "other/2.png"]


def test_folders_of_two_devices_may_have_one_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for device, name in enumerate(("", "a/", "b/")):
        save_gray(tmp_path / f"{name}{device}.png")
    devices = {str(tmp_path / name): device for device, name in enumerate(("", "a", "b"))}

    def stat(path: str) -> os.stat_result:
        return os.stat_result((0o40755, 5, devices[path.rstrip("/")], *[0] * 7))

    with monkeypatch.context() as patched:
        patched.setattr("cnn_cli.data.folder.os.stat", stat)
        found = list(walk_images(str(tmp_path)))
    assert [os.path.basename(path) for path in found] == ["0.png", "1.png", "2.png"]


def test_a_link_to_nothing_is_reported_later_and_a_pipe_never_read(tmp_path: Path) -> None:
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "self.png").symlink_to("self.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert below(tmp_path) == ["gone.png", "self.png"]


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS takes names in UTF-8 only")
def test_names_of_any_bytes(tmp_path: Path) -> None:
    for name in ("a\nb.png", os.fsdecode(b"\xff.png")):
        save_gray(tmp_path / name)
    assert below(tmp_path) == ["a\nb.png", "\udcff.png"]


def test_paths_are_joined_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_gray(tmp_path / "photos" / "a.png")
    monkeypatch.chdir(tmp_path)
    assert list(walk_images("photos")) == ["photos/a.png"]
    assert list(walk_images("photos/")) == ["photos/a.png"]
    assert list(walk_images(".")) == ["./photos/a.png"]


def test_a_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folders(tmp_path, {"a": 1, "b": 1, "c": 1})
    scandir = os.scandir

    def refuse(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    line = f"{tmp_path}/b: cannot be read. Got permission denied."
    with pytest.raises(DataError) as caught:
        below(tmp_path)
    assert caught.value.line() == line
    with pytest.raises(DataError) as caught:
        scan(tmp_path / "b")
    assert caught.value.line() == line
    problems: list[DataError] = []
    found = list(walk_images(str(tmp_path), problems.append))
    assert [os.path.relpath(path, tmp_path) for path in found] == ["a/000.png", "c/000.png"]
    assert [problem.line() for problem in problems] == [line]


def test_extensions_are_those_that_pillow_registers() -> None:
    Image.init()
    registered = Image.registered_extensions()
    decoded = {name for name, kind in registered.items() if kind in FORMATS and kind in Image.OPEN}
    # MPO registers .mpo for writing, under a format that cannot be read alone.
    built_in = {".avif", ".avifs", ".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c", ".webp"}
    assert decoded | {".mpo"} | built_in == EXTENSIONS


def test_heif_counts_where_it_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (True, False):
        monkeypatch.setattr(folder, "has_heif", lambda there=there: there)
        assert is_image_name("a.HEIC") is there
        assert is_image_name("a.hif") is there


def remarks_of(root: Path) -> tuple[str, ...]:
    listing: Listing = FolderListing(root)
    for part, each in listing.parts.items():
        for name in each.classes:
            list(listing.images(part, name))
    return listing.remarks()


def test_files_that_are_passed_over_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "has_heif", lambda: False)
    make_folders(tmp_path, {"cat": 2, "dog": 1})
    assert remarks_of(tmp_path) == ()
    for name in ("a.heic", "b.HEIC", "sub/c.txt", "d.TXT", "e", "f.final version 2", ".hidden"):
        (tmp_path / "cat" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "cat" / name).touch()
    assert remarks_of(tmp_path) == (
        "2 .heic left out: install the extra heic; 2 .txt and 2 without an extension left out",
    )
    save_gray(tmp_path / "outside.png")
    save_gray(tmp_path / "more.png")
    assert remarks_of(tmp_path)[1:] == ("2 images beside the class folders left out",)
    for i in range(7):
        (tmp_path / "dog" / f"a.x{i}").touch()
    assert remarks_of(tmp_path)[0].endswith(
        "2 .txt, 2 without an extension, 1 .x0, 1 .x1, 1 .x2 and 4 more left out"
    )


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["test", "train", "valid"], {"test": "test", "train": "train", "val": "valid"}),
        (["Training", "VALIDATION"], {"train": "Training", "val": "VALIDATION"}),
        (["dev", "train", "evaluation"], {"val": "dev", "train": "train", "test": "evaluation"}),
        (["testing", "train"], {"test": "testing", "train": "train"}),
        (["eval"], {"test": "eval"}),
        (["cat", "dog"], None),
        (["train_station", "bus_station"], None),
        (["test_positive", "test_negative"], None),
        ([], None),
    ],
)
def test_parts(names: list[str], parts: dict[str, str] | None) -> None:
    assert find_parts("photos", names, ()) == parts


RULE = (
    "photos: must hold either parts, named train, val and test, or a folder for each class; "
    "data.classes with all their names makes them classes. Got "
)


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["samples", "train", "val"], RULE + "train and val beside samples."),
        (["holdout", "train"], RULE + "train beside holdout."),
        (
            ["test_set", "training_set"],
            RULE + "test_set and training_set, which look like parts.",
        ),
        (["train2017", "val2017"], RULE + "train2017 and val2017, which look like parts."),
        (["bus", "car", "Train"], RULE + "Train beside bus and car."),
        (
            ["train", "val", "valid"],
            "photos: must have one folder for validation. Got both 'val' and 'valid'.",
        ),
        (
            ["Train", "train"],
            "photos: must have one folder to train on. Got both 'Train' and 'train'.",
        ),
    ],
)
def test_parts_that_are_not_clear(names: list[str], line: str) -> None:
    with pytest.raises(DataError) as caught:
        find_parts("photos", names, ())
    assert caught.value.line() == line
    assert find_parts("photos", names, names) is None
    assert find_parts("photos", names, names[1:]) is None
    assert find_parts("photos", names, [*names, "another"]) is None
    with pytest.raises(DataError):
        find_parts("photos", names, ["another"])


def test_parts_in_a_folder(tmp_path: Path) -> None:
    make_folders(tmp_path / "Train", {"a": 0, "b": 0})
    make_folders(tmp_path / "dev", {"a": 0})
    (tmp_path / ".cache").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "README.md").touch()
    parts = FolderListing(tmp_path).parts
    assert {part: (each.name, each.classes) for part, each in parts.items()} == {
        "train": ("Train", {name: str(tmp_path / "Train" / name) for name in "ab"}),
        "val": ("dev", {"a": str(tmp_path / "dev/a")}),
    }


def test_classes_that_hold_parts(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        make_folders(tmp_path / name, {"Train": 1, "val": 1})
    with pytest.raises(DataError) as caught:
        remarks_of(tmp_path)
    assert caught.value.line() == (
        f"{tmp_path}: must have the parts above the classes, as train/cat and val/cat; "
        "data.classes with the classes' names takes each class whole. Got Train and val in cat."
    )
    listing = FolderListing(tmp_path, ["cat", "dog"])
    assert len(list(listing.images("all", "cat"))) == 2
