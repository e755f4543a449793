"""What one image file is like, before anything is trained on it."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass

from PIL import Image

from cnn_cli.data.decode import ImageError, Preprocess, load_image
from cnn_cli.errors import reason

BLOCK = 2**20
ORDINARY = ("colour", "grey", "transparent")

_PREPROCESS = Preprocess(32, 32, 3, "squash")


@dataclass(frozen=True, slots=True)
class Picture:
    """An image that can be read.

    Attributes:
        digest: of the file's content; copies have the same.
        width, height: in pixels, before any rotation.
        kind: one of `ORDINARY`, or what is odd about it: `animated`, `16-bit`, `CMYK`, ...
    """

    digest: bytes
    width: int
    height: int
    kind: str


def examine(path: str) -> Picture | str:
    """Read a file as training does; what is wrong with it where that fails.

    Safe to call from several threads.
    """
    try:
        load_image(path, _PREPROCESS)
        digest = _content(path)
        with Image.open(path) as image:
            return Picture(digest, image.width, image.height, _kind(image))
    except ImageError as error:
        return error.message
    except Exception as error:  # it has changed since it was read
        return f"cannot be read: {reason(error)}"


def _content(path: str) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb", buffering=0) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.digest()


def _kind(image: Image.Image) -> str:
    if _is_animated(image):
        return "animated"
    # Colour of 16 bits shows in how its pixels are stored only: Pillow keeps the upper 8.
    if image.mode.startswith("I") or ";16" in str(getattr(image, "tile", "")):
        return "16-bit"
    match image.mode:
        case "F":
            return "floating-point"
        case "CMYK" | "LAB" | "HSV" | "YCbCr":
            return image.mode
    if image.has_transparency_data:
        return "transparent"
    return "grey" if image.mode in ("1", "L") else "colour"


def _is_animated(image: Image.Image) -> bool:
    if image.format == "MPO":  # of a camera: a photograph and its preview or second eye
        return False
    with suppress(Exception):  # a damaged second frame: the first, which is what counts, was read
        return bool(getattr(image, "is_animated", False))
    return False
