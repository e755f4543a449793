"""Archives as data roots, images read from them, and hostile archives."""

from __future__ import annotations

import errno
import gzip
import io
import os
import shutil
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from data_samples import make_folders, save_gray

from cnn_cli.data import archive
from cnn_cli.data.archive import (
    archive_of,
    is_picture_file,
    names_below,
    open_archive,
    open_picture,
)
from cnn_cli.data.check import check_folder
from cnn_cli.data.content import content_digest
from cnn_cli.data.dataset import Dataset
from cnn_cli.data.decode import load_image, read_image
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.opening import open_dataset, open_labeled
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.roots import check_there, open_listing, plain_name
from cnn_cli.data.sources import expand_sources
from cnn_cli.errors import DataError

PRE = Preprocess(4, 4, 1)
KINDS = ["zip", "tar", "tar.gz", "tgz", "stored.zip", "ZIP"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with class folders in `photos`."""
    monkeypatch.chdir(tmp_path)
    make_folders(Path("photos"), {"cat": 3, "dog": 2})
    save_gray(Path("photos/dog/deep/er.png"), seed=99)
    Path("photos/cat/notes.txt").touch()
    return tmp_path


def pack(folder: str, name: str, inside: str = "") -> Path:
    """Create an archive of a folder's content, below a folder `inside` in the archive."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    names = [os.path.join(inside, path.relative_to(folder)) for path in files]
    if name.lower().endswith("zip"):
        method = zipfile.ZIP_STORED if name.startswith("stored") else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(name, "w", method) as made:
            for path, there in zip(files, names, strict=True):
                made.write(path, there)
    else:
        with tarfile.open(name, "w:gz" if name.endswith("gz") else "w") as tar:
            for path, there in zip(files, names, strict=True):
                tar.add(path, there)
    return Path(name)


def below(dataset: Dataset, root: object) -> list[tuple[str, int]]:
    paths = [path.removeprefix(f"{root}/") for path in dataset.train.paths]
    return list(zip(paths, dataset.train.labels.tolist(), strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inside", ["", "photos", "./a/photos"])
def test_an_archive_is_as_its_folder(kind: str, inside: str) -> None:
    root = pack("photos", f"x.{kind}", inside)
    folder, packed = open_dataset(Path("photos"), None, 0.0), open_dataset(root, None, 0.0)
    assert packed.classes == folder.classes == ("cat", "dog")
    start = "/".join(filter(None, [str(root), inside.removeprefix("./")]))
    assert below(packed, start) == below(folder, "photos")
    assert packed.base == str(root)
    assert packed.remarks == folder.remarks == ("1 .txt left out",)
    for ours, theirs in zip(packed.train.paths, folder.train.paths, strict=True):
        np.testing.assert_array_equal(load_image(ours, PRE), load_image(theirs, PRE))
        assert content_digest(ours, 8) == content_digest(theirs, 8)
        assert is_picture_file(ours)
    assert below(open_dataset(root, None, 0.3), start) == below(
        open_dataset(Path("photos"), None, 0.3), "photos"
    )
    check_there(root)
    assert plain_name(root) in ("x", "x.stored")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_parts_within(kind: str) -> None:
    shutil.copytree("photos", "parts/Train")
    shutil.copytree("photos/dog", "parts/dev/dog")
    save_gray(Path("parts/dev/outside.png"))
    dataset = open_dataset(pack("parts", f"x.{kind}"), None, 0.5)
    assert len(dataset.train) == 6
    assert dataset.val is not None
    assert dataset.val.paths[0] == f"x.{kind}/dev/dog/000.png"
    assert dataset.remarks[-1] == "an image beside the class folders left out"
    assert open_labeled(Path(f"x.{kind}"), ["cat", "dog"], "val").labels.tolist() == [1] * 3
    (Path("parts/samples")).mkdir()
    save_gray(Path("parts/samples/0.png"))
    with pytest.raises(DataError, match="Got Train and dev beside samples"):
        open_listing(pack("parts", f"y.{kind}"))


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_parts_below_the_classes(kind: str) -> None:
    """As in a folder; a file named like a part is not a part."""
    for part in ("train", "val"):
        shutil.copytree("photos/cat", f"below/cat/{part}")
        shutil.copytree("photos/dog", f"named/dog/of a {part}")
    shutil.copytree("photos/dog", "below/dog")
    shutil.copytree("photos/cat", "named/cat")
    for name in ("train", "val"):
        Path("named/cat", name).write_text("no folder")
    with pytest.raises(DataError) as caught:
        open_listing(pack("below", f"x.{kind}"))
    assert caught.value.got == "train and val in cat"
    assert [*open_dataset(pack("named", f"y.{kind}"), None, 0.0).classes] == ["cat", "dog"]


def test_classes_of_one_picture_are_not_taken_for_a_folder_about_all() -> None:
    with zipfile.ZipFile("x.zip", "w") as made:
        made.write("photos/cat/000.png", "cat/000.png")
    with pytest.raises(DataError) as caught:
        open_dataset(Path("x.zip"), None, 0.0)
    assert caught.value.line() == "x.zip: must hold at least two classes. Got one: 'cat'."
    assert open_labeled(Path("x.zip"), ["cat", "dog"], "all").labels.tolist() == [0]


def test_what_archives_of_macos_hold_besides() -> None:
    with zipfile.ZipFile("x.zip", "w") as made:
        for name in ("p/cat/0.png", "p/dog/0.png", "__MACOSX/p/cat/._0.png", "p/.DS_Store"):
            made.write("photos/cat/000.png", name)
    assert open_dataset(Path("x.zip"), None, 0.0).classes == ("cat", "dog")


def test_windows_separators() -> None:
    with zipfile.ZipFile("x.zip", "w") as made:
        for name in ("cat\\0.png", "dog\\0.png"):
            made.write("photos/cat/000.png", name)
    assert open_dataset(Path("x.zip"), None, 0.0).train.paths == [
        "x.zip/cat/0.png",
        "x.zip/dog/0.png",
    ]


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_sources(kind: str) -> None:
    root = str(pack("photos", f"x.{kind}"))
    folder = [path.removeprefix("photos") for path, _ in expand_sources(["photos"])]
    assert [path.removeprefix(root) for path, _ in expand_sources([root])] == folder
    dogs = [name for name in folder if name.startswith("/dog")]
    assert [path.removeprefix(root) for path, _ in expand_sources([f"{root}/dog"])] == dogs
    assert list(expand_sources([f"{root}/dog/000.png"])) == [(f"{root}/dog/000.png",) * 2]
    shutil.copy("photos/cat/000.png", "photos/cat/a[1].png")
    root = str(pack("photos", f"y.{kind}"))
    assert list(expand_sources([f"{root}/cat/a[1].png"])) == [(f"{root}/cat/a[1].png",) * 2]
    gone = read_image(f"{root}/cat/gone.png", PRE)
    assert isinstance(gone, ImageError)
    assert gone.line() == f"{root}/cat/gone.png: cannot be read. Got no such file or directory."


def test_paths_that_lead_into_no_archive() -> None:
    Path("x.zip").mkdir()
    save_gray(Path("x.zip/0.png"))
    assert archive_of("x.zip/0.png") is None
    assert archive_of("y.tar/0.png") is None
    assert names_below("photos") is None
    assert load_image("x.zip/0.png", PRE).shape == (4, 4, 1)
    for path in ("y.tar/0.png", "photos/cat/000.png/0.png"):
        with pytest.raises(OSError, match="directory"):
            open_picture(path)
        assert not is_picture_file(path)


def test_an_archive_that_is_replaced_is_read_anew() -> None:
    root = pack("photos", "x.zip")
    before = open_archive(str(root))
    assert open_archive(str(root)) is before
    save_gray(Path("photos/cat/new.png"))
    pack("photos", "x.zip")
    os.utime(root, ns=(1, 1))
    assert "cat/new.png" in open_archive(str(root)).members


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_many_threads_read_from_one_archive(kind: str) -> None:
    paths = open_dataset(pack("photos", f"x.{kind}"), None, 0.0).train.paths * 20
    expected = [load_image(path, PRE) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        for ours, theirs in zip(
            pool.map(lambda path: load_image(path, PRE), paths), expected, strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_data_check_reads_archives() -> None:
    shutil.copy("photos/cat/000.png", "photos/dog/copy.png")
    findings = check_folder(pack("photos", "x.zip"), 1)
    assert findings.parts == {"all": {"cat": 3, "dog": 4}}
    assert [(one.kind, one.paths) for one in findings.found if one.kind != "small"] == [
        ("two_classes", ("x.zip/cat/000.png", "x.zip/dog/copy.png")),
        ("small_class", ("x.zip/cat",)),
        ("small_class", ("x.zip/dog",)),
        ("not_image", ("x.zip/cat/notes.txt",)),
    ]


# Hostile and broken archives.


class Hostile(NamedTuple):
    """Creates an archive of that name; with the expected error."""

    name: str
    make: Callable[[Path], object]
    line: str


def named(*names: str) -> Callable[[Path], object]:
    """Create an archive with files of these names."""

    def make(path: Path) -> None:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path, "w") as made, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about duplicate names
                for name in names:
                    made.writestr(name, b"x")
        else:
            with tarfile.open(path, "w") as tar:
                for name in names:
                    tar.addfile(tarfile.TarInfo(name), io.BytesIO())

    return make


def typed(kind: bytes) -> Callable[[Path], object]:
    """Create a tar archive with an entry that is not a file."""

    def make(path: Path) -> None:
        with tarfile.open(path, "w") as tar:
            info = tarfile.TarInfo("cat/0.png")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)

    return make


def zip_link(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as made:
        info = zipfile.ZipInfo("cat/0.png")
        info.external_attr = 0o120777 << 16
        made.writestr(info, "/etc/passwd")


def cut(share: float) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        pack("photos", path.name)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return make


def content(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def overwritten(path: Path) -> None:
    """Create a tar archive with an invalid second header."""
    pack("photos", path.name)
    data = bytearray(path.read_bytes())
    data[1024:1536] = b"\x01" * 512
    path.write_bytes(data)


LINKS = "must hold no links."
OUT = "must hold no names that lead out of it."
HOSTILE = [
    Hostile("x.zip", named("cat/0.png", "../../etc/0.png"), f"{OUT} Got '../../etc/0.png'."),
    Hostile("x.zip", named("/etc/0.png"), f"{OUT} Got '/etc/0.png'."),
    Hostile("x.zip", named("cat/../../0.png"), f"{OUT} Got 'cat/../../0.png'."),
    Hostile("x.zip", named("C:/0.png"), f"{OUT} Got 'C:/0.png'."),
    Hostile("x.zip", named("..\\0.png"), f"{OUT} Got '../0.png'."),
    Hostile("x.tar", named("../0.png"), f"{OUT} Got '../0.png'."),
    Hostile("x.tar", named("/cat/0.png"), f"{OUT} Got '/cat/0.png'."),
    Hostile(
        "x.zip",
        named("cat/0.png", "cat/0.png"),
        "must hold each name once. Got 'cat/0.png' twice.",
    ),
    Hostile(
        "x.tar",
        named("cat/0.png", "./cat/0.png"),
        "must hold each name once. Got 'cat/0.png' twice.",
    ),
    Hostile("x.tar", typed(tarfile.SYMTYPE), f"{LINKS} Got 'cat/0.png' -> '/etc/passwd'."),
    Hostile("x.tar", typed(tarfile.LNKTYPE), f"{LINKS} Got 'cat/0.png' -> '/etc/passwd'."),
    Hostile("x.tar", typed(tarfile.FIFOTYPE), "must hold files and folders only. Got 'cat/0.png'."),
    Hostile("x.tar", typed(tarfile.CHRTYPE), "must hold files and folders only. Got 'cat/0.png'."),
    Hostile("x.zip", zip_link, f"{LINKS} Got 'cat/0.png'."),
    Hostile("x.zip", cut(0.7), "must be a zip archive. Got none, or a damaged one."),
    Hostile("x.zip", content(b""), "must be a zip archive. Got none, or a damaged one."),
    Hostile("x.zip", content(b"PK\3\4" * 99), "must be a zip archive. Got none, or a damaged one."),
    Hostile("x.tar", content(b""), "must be a tar archive. Got none, or a damaged one."),
    Hostile("x.tar", content(b"hello" * 999), "must be a tar archive. Got none, or a damaged one."),
    Hostile(
        "x.tar", cut(0.3), "must be a tar archive. Got one that is truncated, or a damaged one."
    ),
    Hostile("x.tar", overwritten, "must be a tar archive. Got none, or a damaged one."),
    Hostile("x.tar.gz", content(b"no"), "must be a tar.gz archive. Got none, or a damaged one."),
    Hostile("x.tar.gz", cut(0.5), "must be a tar.gz archive. Got none, or a damaged one."),
    Hostile(
        "x.tgz", content(gzip.compress(b"no")), "must be a tar archive. Got none, or a damaged one."
    ),
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_archives_that_mean_harm(hostile: Hostile) -> None:
    hostile.make(Path(hostile.name))
    with pytest.raises(DataError) as caught:
        open_dataset(Path(hostile.name), None, 0.0)
    assert caught.value.line() == f"{hostile.name}: {hostile.line}"
    [(place, error)] = expand_sources([hostile.name])
    assert isinstance(error, ImageError)
    assert (place, error.line()) == (hostile.name, f"{hostile.name}: {hostile.line}")
    with pytest.raises(OSError, match=r"a refused archive: it must") as refused:
        open_picture(f"{hostile.name}/cat/0.png")
    assert refused.value.errno == errno.EIO


def patched(path: str, signature: bytes, offset: int, field: str, value: int) -> None:
    """Change a field of the first header with that signature."""
    data = bytearray(Path(path).read_bytes())
    struct.pack_into(field, data, data.index(signature) + offset, value)
    Path(path).write_bytes(data)


CENTRAL, LOCAL = b"PK\1\2", b"PK\3\4"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ([(CENTRAL, 8, "<H", 1)], "an encrypted file"),
        ([(CENTRAL, 10, "<H", 9)], "compression by method 9; only deflate (8) is read"),
        ([(CENTRAL, 24, "<I", 2**31)], "more than 1,073,741,824 bytes"),
        ([(CENTRAL, 24, "<I", 3)], "more bytes than its archive declares"),
        ([(CENTRAL, 24, "<I", 3000)], "a file damaged in its archive"),
        ([(CENTRAL, 16, "<I", 5)], "a file damaged in its archive"),
        ([(CENTRAL, 20, "<I", 10**8)], "a truncated archive"),
        ([(LOCAL, 0, "<I", 0)], "a file damaged in its archive"),
        ([(LOCAL, 26, "<H", 60000)], "a file damaged in its archive"),
    ],
)
def test_pictures_that_cannot_be_read_from_their_archive(
    change: list[tuple[bytes, int, str, int]], problem: str
) -> None:
    """The other images are read."""
    root = str(pack("photos", "x.zip"))
    for each in change:
        patched(root, *each)
    paths = open_dataset(Path(root), None, 0.0).train.paths
    bad = read_image(paths[0], PRE)
    assert isinstance(bad, ImageError)
    assert bad.line() == f"{paths[0]}: cannot be read. Got {problem}."
    assert not isinstance(read_image(paths[-1], PRE), ImageError)


def test_a_bomb_of_a_tar_gz_is_bounded_by_the_room_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("x.tar.gz").write_bytes(gzip.compress(bytes(10**7)))
    room = SimpleNamespace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: room)
    with pytest.raises(DataError) as caught:
        open_listing(Path("x.tar.gz"))
    line = caught.value.line()
    assert line.startswith("x.tar.gz: must unpack to less than there is room for in ")
    assert line.endswith(". Got more than 900.0 kB.")


def test_too_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_MEMBERS", 3)
    with pytest.raises(DataError) as caught:
        open_listing(pack("photos", "x.zip"))
    assert caught.value.line() == "x.zip: must hold at most 3 files."
