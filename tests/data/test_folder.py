"""What is found in a folder, and in which order."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from data_samples import make_folders, save_grey

from cnn_cli.data.folder import find_splits, is_image_name, sub_folders, walk_images
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
        save_grey(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    assert below(tmp_path) == ["A.jpg", "a/1.png", "a/2.PNG", "a/c/0.png", "b.png"]


def test_hidden_entries_are_passed_over(tmp_path: Path) -> None:
    for name in ("a.png", ".b.png", ".c/d.png", "e/.f/g.png", "._a.png"):
        save_grey(tmp_path / name)
    assert below(tmp_path) == ["a.png"]
    (tmp_path / "e" / "k.png").mkdir()
    assert list(sub_folders(tmp_path)) == ["e"]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    save_grey(tmp_path / "a" / "1.png")
    save_grey(tmp_path / "elsewhere" / "2.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a" / "self").symlink_to("self")
    (tmp_path / "a" / "3.png").symlink_to("1.png")
    (tmp_path / "self").symlink_to("self")
    assert list(sub_folders(tmp_path)) == ["a", "elsewhere"]
    assert below(tmp_path / "a") == ["1.png", "3.png", "other/2.png"]


def test_folders_of_two_devices_may_have_one_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for device, name in enumerate(("", "a/", "b/")):
        save_grey(tmp_path / f"{name}{device}.png")
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
        save_grey(tmp_path / name)
    assert below(tmp_path) == ["a\nb.png", "\udcff.png"]


def test_paths_are_joined_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_grey(tmp_path / "photos" / "a.png")
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
        sub_folders(tmp_path / "b")
    assert caught.value.line() == line
    problems: list[DataError] = []
    found = list(walk_images(str(tmp_path), problems.append))
    assert [os.path.relpath(path, tmp_path) for path in found] == ["a/000.png", "c/000.png"]
    assert [problem.line() for problem in problems] == [line]


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_split_folders(tmp_path: Path, name: str) -> None:
    make_folders(tmp_path, {"train": 0, name: 0, "test": 0, ".cache": 0})
    (tmp_path / "README.md").touch()
    assert find_splits(tmp_path) == {
        "train": tmp_path / "train",
        "val": tmp_path / name,
        "test": tmp_path / "test",
    }


def test_class_folders_are_no_splits(tmp_path: Path) -> None:
    assert find_splits(make_folders(tmp_path / "a", {"train": 0, "bus": 0})) is None
    assert find_splits(make_folders(tmp_path / "b", {"Train": 0, "test": 0})) is None
    (tmp_path / "c").mkdir()
    assert find_splits(tmp_path / "c") is None


def test_two_folders_for_validation(tmp_path: Path) -> None:
    make_folders(tmp_path, {"train": 0, "val": 0, "valid": 0})
    with pytest.raises(DataError) as caught:
        find_splits(tmp_path)
    assert caught.value.line() == (
        f"{tmp_path}: must have one folder for validation. Got both 'val' and 'valid'."
    )
