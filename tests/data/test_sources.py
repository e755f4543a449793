"""The sources of `predict` as paths."""

from __future__ import annotations

import glob
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from data_samples import save_gray

from cnn_cli.data.image_error import ImageError
from cnn_cli.data.sources import expand_all, expand_sources, holds_images, read_list
from cnn_cli.errors import DataError


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photos/b.jpg", "photos/a/1.png", "photos/a/0.PNG", "photos/.x/a.png", "c.dat"):
        save_gray(Path(name))
    Path("photos/notes.txt").touch()
    Path("empty").mkdir()


class Trickle(io.BytesIO):
    """A stream with a given number of bytes ready at a time."""

    def __init__(self, content: bytes, most: int) -> None:
        super().__init__(content)
        self.most = most

    def read1(self, size: int | None = -1, /) -> bytes:
        return self.read(self.most)


def expand(*sources: str) -> list[str]:
    """Return paths, and lines of errors."""
    found = []
    for path, what in expand_sources(sources):
        if isinstance(what, ImageError):
            assert what.place == path
            found.append(what.line())
        else:
            assert what == path
            found.append(path)
    return found


def test_files_are_taken_as_typed() -> None:
    assert expand("./photos/b.jpg", "c.dat", "photos//b.jpg") == [
        *("./photos/b.jpg", "c.dat", "photos//b.jpg")
    ]


@pytest.mark.parametrize("typed", ["photos", "photos/"])
def test_folder(typed: str) -> None:
    assert expand(typed) == ["photos/a/0.PNG", "photos/a/1.png", "photos/b.jpg"]


def test_folder_of_another_place(tmp_path: Path) -> None:
    assert expand("./photos/a") == ["./photos/a/0.PNG", "./photos/a/1.png"]
    assert expand(str(tmp_path / "photos" / "a"))[0] == f"{tmp_path}/photos/a/0.PNG"


def test_pattern() -> None:
    assert expand("photos/*.jpg") == ["photos/b.jpg"]
    assert expand("photos/a/?.*") == ["photos/a/0.PNG", "photos/a/1.png"]
    assert expand("photos/**/*.[pj][np]g") == ["photos/a/1.png", "photos/b.jpg"]
    assert expand("ph*s") == ["photos/a/0.PNG", "photos/a/1.png", "photos/b.jpg"]


@pytest.mark.parametrize("pattern", ["photos/**", "**", "photos/**/", "ph*/**", "./**/"])
def test_a_pattern_that_matches_folders_and_what_is_in_them(pattern: str) -> None:
    """Each image counts once, and other files are skipped as in any folder."""
    found = [os.path.normpath(path) for path in expand(pattern)]
    expected = ["photos/a/0.PNG", "photos/a/1.png", "photos/b.jpg"]
    assert [path for path in found if path.startswith("photos/")] == expected


@pytest.mark.parametrize(
    "pattern",
    ["photos/**/*.[pj][np]g", "**/photos/**/*.[pj][np]g", "**/**/[1b].*", "./ph*/**/[1b].*"],
)
def test_a_pattern_in_folders_with_loops_of_links(pattern: str, tmp_path: Path) -> None:
    """Two loops have more paths than can be listed."""
    before = expand(pattern)
    assert [os.path.normpath(path) for path in before] == ["photos/a/1.png", "photos/b.jpg"]
    os.symlink(tmp_path / "photos", "photos/a/up")
    os.symlink("a", "photos/same")
    os.symlink(".", "photos/self")
    assert expand(pattern) == before


def test_patterns_are_those_of_glob(tmp_path: Path) -> None:
    for folder in ("x/y/z", "x/y", "x/[y]", "x/.hidden/y", "w"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name in ("1.png", "z.png", ".h.png"):
            save_gray(Path(folder, name))
    for pattern in (
        *("**/*.png", "**/y/*.png", "**/y/**/*.png", "x/**/z/*.png", "*/**/[z1].png", "**/y/z.png"),
        *(
            "x**/*.png",
            f"{tmp_path}/**/*.png",
            "x/**/[[]y]/*.png",
            "**/gone/*.png",
            "w/**/**/1.png",
        ),
    ):
        assert expand(pattern) == (
            sorted(set(glob.glob(pattern, recursive=True))) or [f"{pattern}: matches no file."]
        )


def test_skipped_files_are_noted_at_the_end() -> None:
    said: list[str] = []
    assert [path for path, _ in expand_all(["photos", "photos/b.jpg"], said.append)] == [
        *("photos/a/0.PNG", "photos/a/1.png", "photos/b.jpg", "photos/b.jpg")
    ]
    assert said == ["1 .txt left out"]
    assert [path for path, _ in expand_all(["photos/b.jpg"], said.append)] == ["photos/b.jpg"]
    assert said == ["1 .txt left out"]


def test_what_may_hold_several_images(tmp_path: Path) -> None:
    with zipfile.ZipFile("p.zip", "w") as archive:
        archive.write("photos/b.jpg", "x/b.jpg")
    several = ["photos", "photos/*", "**", "p.zip", "p.zip/x"]
    assert [source for source in several if not holds_images(source)] == []
    assert [source for source in ("c.dat", "gone.png", "-") if holds_images(source)] == []


def test_a_file_named_like_a_pattern() -> None:
    save_gray(Path("b[1].png"))
    save_gray(Path("b1.png"))
    assert expand("b[1].png") == ["b[1].png"]
    Path("b[1].png").unlink()
    assert expand("b[1].png") == ["b1.png"]


def test_what_is_not_there() -> None:
    assert expand("gone.png") == ["gone.png"]  # loading it gives the error
    assert expand("*.gone") == ["*.gone: matches no file."]
    assert expand("empty") == ["empty: holds no image."]


def test_a_folder_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(path: str) -> Iterator[os.DirEntry[str]]:
        if path in ("photos/a", "empty"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert expand("photos") == ["photos/a: cannot be read. Got permission denied.", "photos/b.jpg"]
    assert expand("empty") == ["empty: cannot be read. Got permission denied."]


def test_an_image_on_stdin() -> None:
    assert list(expand_sources(["-"], io.BytesIO(b"bytes"))) == [("-", b"bytes")]
    assert list(expand_sources(["-"])) == [("-", "-")]


def test_sources_are_taken_one_at_a_time() -> None:
    def sources() -> Iterator[str]:
        yield "photos"
        raise AssertionError("asked for more than was needed")

    assert next(expand_sources(sources())) == ("photos/a/0.PNG", "photos/a/0.PNG")


def test_list_of_lines() -> None:
    stream = io.BytesIO(b"a.png\n\nb c.png\r\n\xff\xc3\xa9.png\nlast")
    assert list(read_list(stream, nul=False)) == ["a.png", "b c.png", "\udcffé.png", "last"]
    assert list(read_list(io.BytesIO(b""), nul=False)) == []


def test_blanks_at_the_end_of_a_line() -> None:
    Path("ends in a blank ").touch()
    lines = b" a.png  \nb c.png\t\n  \n\t\nends in a blank \n"
    found = list(read_list(io.BytesIO(lines), nul=False))
    assert found == [" a.png", "b c.png", "ends in a blank "]
    assert list(read_list(io.BytesIO(b"a.png \0\xef\xbb\xbfb"), nul=True)) == ["a.png ", "\ufeffb"]


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("most", [1, 2, 3, 2**16])
def test_list_of_any_editor(start: bytes, end: bytes, most: int) -> None:
    lines = [b"a.png", b"", b"\xc3\xa9.png", b"\xff.png", b"last"]
    expected = ["a.png", "é.png", "\udcff.png", "last"]
    for last in (b"", end):
        content = start + end.join(lines) + last
        assert list(read_list(Trickle(content, most), nul=False)) == expected


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("most", [1, 2, 3, 2**16])
def test_list_in_utf_16(encoding: str, most: int) -> None:
    content = "\ufeffa.png\r\n\r\né\u4e0d\U0001f33b.png \r\n".encode(encoding)
    expected = ["a.png", "é\u4e0d\U0001f33b.png"]
    assert list(read_list(Trickle(content, most), nul=False)) == expected
    with pytest.raises(DataError) as caught:
        list(read_list(Trickle(content[:-1], most), nul=False))
    assert caught.value.line() == "--from-file: must be UTF-8 text, or UTF-16."


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\xff\xfe"])
def test_list_of_nothing(content: bytes) -> None:
    assert list(read_list(io.BytesIO(content), nul=False)) == []


@pytest.mark.parametrize("nul", [False, True])
def test_list_without_ends(monkeypatch: pytest.MonkeyPatch, nul: bool) -> None:
    monkeypatch.setattr("cnn_cli.data.sources.MOST_PATH", 5)
    with pytest.raises(DataError) as caught:
        list(read_list(Trickle(b"abcdefgh", 2), nul=nul))
    assert caught.value.line() == "--from-file: must hold paths of less than 5 bytes."


@pytest.mark.parametrize("block", [1, 3, 2**16])
def test_list_with_nul(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr("cnn_cli.data.sources.BLOCK", block)
    stream = io.BytesIO(b"a.png\0\0new\nline\r\0\xff\0last")
    assert list(read_list(stream, nul=True)) == ["a.png", "new\nline\r", "\udcff", "last"]
    assert list(read_list(io.BytesIO(b""), nul=True)) == []


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b"\0"])
def test_list_gives_what_is_there(end: bytes) -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as stream, open(writing, "wb", buffering=0) as other:
        paths = read_list(stream, nul=end == b"\0")
        for path in (b"a", b"b"):
            other.write(path + end)
            assert next(paths) == path.decode()
