"""Too many open files do not count as an image's fault: reading waits, or the command ends."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from data_samples import save_gray
from PIL import Image

from cnn_cli import files
from cnn_cli.data import content, decode
from cnn_cli.data.content import content_hashes
from cnn_cli.data.decode import fit_image, load_image, read_image
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.errors import DataError

PRE = Preprocess(4, 4, 1)


class NoneLeft:
    """The module `os`, with `files.open_to_read` as the only way to open files."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: str, flags: int) -> int:
        raise OSError(self.number, os.strerror(self.number), path)


@pytest.fixture
def picture(tmp_path: Path) -> str:
    save_gray(tmp_path / "a.png")
    return str(tmp_path / "a.png")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
@pytest.mark.parametrize("times", [1, 5, 1000])
def test_it_is_waited_for(
    picture: str, monkeypatch: pytest.MonkeyPatch, number: int, times: int
) -> None:
    expected = load_image(picture, PRE), content_hashes([picture], ".")
    left = [times]

    def limited(*arguments: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise OSError(number, os.strerror(number), arguments[0])
        return open(*arguments)

    monkeypatch.setattr(files, "open", limited, raising=False)
    monkeypatch.setattr(content, "os", NoneLeft(number))
    monkeypatch.setattr(files, "PATIENCE", 0)
    if times < files.WAITS:
        assert (load_image(picture, PRE) == expected[0]).all()
        left[0] = times
        again = content_hashes([picture], ".")
        assert (again.hashes == expected[1].hashes).all()
        assert again.readable.all()
        return
    line = f"{picture}: cannot be opened. Got {os.strerror(number).lower()}."
    for call in (lambda: read_image(picture, PRE), lambda: content_hashes([picture], ".")):
        with pytest.raises(DataError) as caught:
            call()
        assert caught.value.line() == line
        assert type(caught.value) is files.NoDescriptorError


def test_what_pillow_cannot_open_for_that_reason_is_not_bad(
    picture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limited(file: object) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(decode, "open_image", limited)
    with pytest.raises(files.NoDescriptorError):
        read_image(picture, PRE)


def test_an_image_of_the_caller_is_not_bad_either(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = files.NoDescriptorError("a.jpg", "cannot be opened", "too many open files")

    def limited(*arguments: Any) -> Any:
        raise problem

    monkeypatch.setattr(decode, "_fitted", limited)
    with pytest.raises(files.NoDescriptorError) as caught:
        fit_image(Image.new("L", (4, 4)), PRE, "image")
    assert caught.value is problem
