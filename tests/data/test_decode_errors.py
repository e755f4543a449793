"""Unusable files give one clear error and no other output."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from data_samples import encoded, noise
from PIL import Image, UnidentifiedImageError

from cnn_cli.data.decode import load_image
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.preprocess import Preprocess

COLOR = Preprocess(6, 8, 3)
COLORS = noise(6, 8, 3)


def error_of(source: str | Path | bytes, name: str | None = None) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(source, COLOR, name)
    return caught.value.line()


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert error_of(path) == f"{path}: cannot be read. Got no such file or directory."
    assert error_of(path, "a.png") == "a.png: cannot be read. Got no such file or directory."


def test_folder(tmp_path: Path) -> None:
    assert error_of(tmp_path) == f"{tmp_path}: cannot be read. Got a folder."


def test_nul_byte_in_a_name() -> None:
    assert error_of("a\0b.png") == "a\\x00b.png: cannot be read. Got embedded null byte."


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG", b"<svg></svg>"])
def test_not_an_image(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(data)
    assert error_of(path) == f"{path}: not an image Pillow can read."
    assert error_of(data) == "image: not an image Pillow can read."


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_truncated(kind: str) -> None:
    data = encoded(Image.fromarray(noise(60, 80, 3)), kind)
    line = error_of(data[: len(data) * 2 // 3], "a")
    assert line in ("a: truncated or damaged.", "a: not an image Pillow can read.")
    if kind in ("PNG", "JPEG", "BMP", "PPM"):
        assert line == "a: truncated or damaged."


def test_damaged_bytes_are_an_image_error_or_an_image() -> None:
    rng = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "ICO", "BMP"):
        whole = encoded(Image.fromarray(COLORS), kind)
        for _ in range(30):
            data = bytearray(whole)
            for place in rng.integers(0, min(len(data), 200), 4):
                data[place] = rng.integers(256)
            with suppress(ImageError):
                assert load_image(bytes(data), COLOR).shape == (6, 8, 3)


@pytest.mark.parametrize("limit", [12, 30])
def test_too_large(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    # Above the limit Pillow warns, above twice the limit it raises: both are refused.
    data = encoded(Image.fromarray(COLORS))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert (
        error_of(data, "a") == f"a: has more pixels than Pillow's limit of {limit}. Got 48 pixels."
    )
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48)
    assert load_image(data, COLOR).shape == (6, 8, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert load_image(data, COLOR).shape == (6, 8, 3)


def test_a_plugin_that_another_thread_is_importing(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    really_open = Image.open

    def once_blind(file: IO[bytes], formats: Sequence[str]) -> Image.Image:
        opened.append(file)
        if len(opened) == 1:
            raise UnidentifiedImageError
        return really_open(file, formats=tuple(formats))

    monkeypatch.setattr(Image, "open", once_blind)
    data = encoded(Image.fromarray(COLORS))
    np.testing.assert_array_equal(load_image(data, COLOR), COLORS)


def test_postscript_is_not_run() -> None:
    data = encoded(Image.fromarray(COLORS), "EPS")
    assert error_of(data, "a") == "a: is PostScript, which is a program and not an image."


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        (MemoryError(), "a: does not fit in memory."),
        (OSError(errno.EIO, "Input/output error"), "a: cannot be read. Got input/output error."),
        (OSError("broken data stream"), "a: truncated or damaged."),
        (SyntaxError("broken"), "a: truncated or damaged."),
        (KeyError("mode"), "a: truncated or damaged."),
    ],
)
def test_whatever_pillow_raises(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, line: str
) -> None:
    def load(_: Image.Image) -> None:
        raise raised

    data = encoded(Image.fromarray(COLORS))
    Image.preinit()
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    assert error_of(data, "a") == line


def test_message_leaves_out_the_path() -> None:
    assert ImageError("a.png", "truncated or damaged").message == "truncated or damaged"
    assert ImageError("a.png", "cannot be read", "no").message == "cannot be read: no"


QUIET = """
import sys
from cnn_cli.data.decode import load_image
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.system import claim_process
claim_process()
for path in sys.argv[1:]:
    try:
        load_image(path, Preprocess(6, 8, 3))
        print("read")
    except ImageError as error:
        print(error.message)
"""


def test_pillow_and_its_libraries_write_nothing(tmp_path: Path) -> None:
    image = Image.fromarray(COLORS)
    deflated = bytearray(encoded(image, "TIFF", compression="tiff_adobe_deflate"))
    deflated[20:40] = bytes(20)
    files = {
        "large.png": encoded(Image.new("1", (9600, 9600))),
        "exif.png": encoded(image, exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff"),
        "deflated.tif": bytes(deflated),
        "short.tif": encoded(image, "TIFF")[:-100],
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", QUIET, *(tmp_path / name for name in files)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    limit = Image.MAX_IMAGE_PIXELS
    assert lines[0] == f"has more pixels than Pillow's limit of {limit}: 92160000 pixels"
    assert lines[1] == "read"
    assert len(lines) == 4
