"""Which images are held back for validation, decided by what is in the file.

Renaming, moving and adding files leaves every other image where it was, and copies of an image
are never on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.archive import open_picture

BLOCK = 2**20


def content_digest(path: str, size: int) -> bytes:
    """A hash of what is in the file, of `size` bytes.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=size)
    with open_picture(path, 0) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.digest()


def content_fraction(path: str) -> float | None:
    """The file's hash as a number from 0 up to 1, or None where it cannot be read."""
    try:
        digest = content_digest(path, 8)
    except OSError:
        return None
    return int.from_bytes(digest, "big") / 2**64


def held_back(paths: Sequence[str], val_split: float) -> NDArray[np.bool_]:
    """Whether each file belongs to validation.

    A file that cannot be read stays in training, where it is reported as bad.

    Args:
        paths: of the image files.
        val_split: the fraction for validation, from 0 to 1; it is met on average.

    Returns:
        (paths,) booleans.
    """
    held = np.zeros(len(paths), np.bool_)
    if val_split > 0:
        for i, path in enumerate(paths):
            fraction = content_fraction(path)
            held[i] = fraction is not None and fraction < val_split
    return held
