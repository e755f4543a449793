"""The properties of image files, found by reading each of them as training does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cnn_cli.data.archive import open_picture
from cnn_cli.data.cache import ImageCache
from cnn_cli.data.content import content_digest
from cnn_cli.data.decode import read_image
from cnn_cli.data.depth import Pixels, viewable
from cnn_cli.data.folder import ARRAY_EXTENSION
from cnn_cli.data.formats import has_frames, open_image
from cnn_cli.data.image_error import ImageError, NoReaderError
from cnn_cli.data.near import SIDE, perceptual_hash
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.reading_threads import Pool
from cnn_cli.data.samples import Facts, facts_of
from cnn_cli.errors import reason
from cnn_cli.files import NoDescriptorError
from cnn_cli.structs import replace

JOB = 16  # files that a thread reads per job
WINDOW = 4  # pending jobs per thread
DIGEST_SIZE = 16  # bytes: makes collisions within a data set practically impossible
ORDINARY = ("color", "gray", "transparent")

_PREPROCESS = Preprocess(SIDE, SIDE, 3, "squash")


@dataclass(frozen=True, slots=True)
class Examined:
    """The properties of a readable image.

    Attributes:
        digest: hash of the file's content; equal for copies.
        width, height: in pixels, before any rotation.
        kind: one of `ORDINARY`, or an unusual property: `animated`, `16-bit`, `CMYK`, `5 bands`.
        look: its `perceptual_hash`.
    """

    digest: bytes
    width: int
    height: int
    kind: str
    look: bytes | None


def examine_all(
    paths: list[str], threads: int, progress: Callable[[int, int], object] | None
) -> Iterator[Examined | str]:
    """Read each file, on several threads, and yield its properties in order, or what is wrong.

    Args:
        paths: the files, which may be members of archives.
        threads: number of reading threads.
        progress: called from time to time with the number of files read and the total.
    """
    useful = ImageCache.open("none", paths, Preprocess(1, 1, 1)).useful_threads(threads)
    waiting: deque[Future[list[Examined | str]]] = deque()
    done = 0
    with Pool(useful) as pool:
        for start in range(0, len(paths), JOB):
            waiting.append(pool.submit(_examine_some, paths[start : start + JOB]))
            while len(waiting) >= WINDOW * useful or (waiting and start + JOB >= len(paths)):
                pictures = waiting.popleft().result()
                yield from pictures
                done += len(pictures)
                if progress is not None:
                    progress(done, len(paths))


def _examine_some(paths: list[str]) -> list[Examined | str]:
    return [_examine(path) for path in paths]


def _examine(path: str) -> Examined | str:
    """Read a file as training does; return its properties or what is wrong with it.

    Thread-safe.
    """
    pixels = read_image(path, _PREPROCESS)
    try:
        if isinstance(pixels, ImageError) or path.lower().endswith(ARRAY_EXTENSION):
            return _examine_bands(path, pixels)
        digest = content_digest(path, DIGEST_SIZE)
        with open_picture(path) as file, open_image(file) as image:
            look = perceptual_hash(pixels)
            return Examined(digest, image.width, image.height, _kind(image), look)
    except NoDescriptorError:
        raise
    except Exception as error:  # the file has changed since it was read
        return f"cannot be read: {reason(error)}"


def _examine_bands(path: str, plain: Pixels | ImageError) -> Examined | str:
    """Read a file again with all of its bands and bits.

    Args:
        plain: the image in 8-bit color, or why it could not be read.
    """
    with open_picture(path) as file:
        try:
            facts = facts_of(file, path)
        except NoReaderError as error:
            return error.message
        except Exception:  # damaged, or not an image
            return plain.message if isinstance(plain, ImageError) else "truncated or damaged"
    pre = replace(_PREPROCESS, channels=facts.bands, depth=facts.depth)
    if isinstance(plain, ImageError) and pre.is_plain:
        return plain.message
    pixels = read_image(path, pre)
    if isinstance(pixels, ImageError):
        return pixels.message
    digest, shown = content_digest(path, DIGEST_SIZE), viewable(pixels)
    look = perceptual_hash(np.broadcast_to(shown, (*shown.shape[:2], 3)))
    return Examined(digest, *facts.size, _kind_of_bands(facts), look)


def _kind_of_bands(facts: Facts) -> str:
    depth = {8: "", 16: "16-bit", "float": "floating-point"}[facts.depth]
    if facts.bands not in (1, 3):
        return f"{facts.bands} bands{depth and f', {depth}'}"
    return depth or ("gray" if facts.bands == 1 else "color")


def _kind(image: Image.Image) -> str:
    if has_frames(image):
        return "animated"
    # 16-bit color shows only in how pixels are stored: Pillow keeps the upper 8 bits.
    if image.mode.startswith("I") or ";16" in str(getattr(image, "tile", "")):
        return "16-bit"
    if image.mode in ("CMYK", "LAB", "HSV", "YCbCr"):
        return image.mode
    if image.has_transparency_data:
        return "transparent"
    return "gray" if image.mode in ("1", "L") else "color"
