"""Which files are opened as images; the only module that calls `Image.open`.

Pillow would open any file that one of its plugins accepts. Some plugins run a program, or pass
embedded content to any other plugin. So formats are listed explicitly: those whose plugin decodes
the pixels in this process and opens nothing but the file's own content.
"""

from __future__ import annotations

import logging
import math
import struct
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import IO

from PIL import Image, UnidentifiedImageError, _imaging

from cnn_cli import system

OnFrames = Callable[[str], object]
"""Called with the name of a file that has more than one frame."""

COMMON = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM")
"""Formats that Pillow opens without importing its rarer plugins, which is slow."""

FORMATS = frozenset(
    [
        # Photographs and graphics from cameras, phones, scanners, browsers and office programs.
        *COMMON,
        *("AVIF", "JPEG2000", "TIFF", "WEBP"),
        "MPO",  # a JPEG with a second one appended, as cameras and phones write
        "HEIF",  # from phones: read by pi-heif, the extra `heic`
        # Files of image editors: the flattened image of a PSD, and lossless exchange formats.
        *("PCX", "DCX", "PSD", "QOI", "SGI", "SUN", "TGA"),
        # Icons and cursors; the largest image is used. Their plugins decode the embedded PNG, BMP
        # or JPEG 2000 themselves.
        *("CUR", "ICNS", "ICO"),
        # Small images as text or bits, of X11 and of early Windows.
        *("MSP", "XBM", "XPM", "XVTHUMB"),
        # Scientific cameras: telescopes, electron microscopes, weather satellites.
        *("FITS", "IM", "IMT", "MCIDAS", "SPIDER"),
        # Textures of games, and brushes of painting programs.
        *("BLP", "DDS", "FTEX", "GBR"),
        # Formats of the nineties: Photo CD, Autodesk animations, Pixar frames.
        *("FLI", "PCD", "PIXAR"),
    ]
)

# Formats left out, and why. A test checks that each of Pillow's plugins is in one of the two lists.
REFUSED = {
    "EPS": "PostScript is a program; Pillow has Ghostscript run it",
    "IPTC": "a container whose content is opened as whatever it looks like, PostScript as well",
    "FPX": "an OLE container, read by a package of its own",
    "MIC": "an OLE container, read by a package of its own",
    "WMF": "drawing commands, which Windows would run",
    "BUFR": "weather data; Pillow has no decoder",
    "GRIB": "weather data; Pillow has no decoder",
    "HDF5": "data sets; Pillow has no decoder",
    "MPEG": "a film; Pillow has no decoder",
}

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
ARRAY = b"\x93NUMPY"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF
POSTSCRIPT = (b"%!PS", b"\xc5\xd0\xd3\xc6")  # plain, and with a DOS preview

PLUGINS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG"}
"""The first bytes of common images, each opened by a plugin that needs no others."""

_importing = threading.Lock()


def import_common() -> None:
    """Import the plugins of `COMMON` before threads open the last free descriptors."""
    with _importing:
        Image.preinit()


def open_image(file: IO[bytes]) -> Image.Image:
    """Open a seekable binary file in one of `FORMATS`, as `Image.open` does, without decoding it.
    The caller closes both.

    Thread-safe.

    Raises:
        UnidentifiedImageError: it has none of these formats.
        Exception: nearly any, for damaged files.
    """
    _settle()
    if (image := _open_alone(file)) is not None:
        return image
    import_common()
    try:
        return Image.open(file, formats=COMMON)
    except UnidentifiedImageError:
        if is_array(file):
            raise
        if is_heif(file):
            _register_heif()
        file.seek(0)
        return Image.open(file, formats=_all_formats())


def _open_alone(file: IO[bytes]) -> Image.Image | None:
    """Open a file with one of `PLUGINS`; None if it refuses, since `Image.open` gives the
    reason.
    """
    for magic, name in PLUGINS.items():
        if _starts_with(file, magic):
            import_module(f"PIL.{name.title()}ImagePlugin")
            make, _ = Image.OPEN[name]
            with suppress(SyntaxError, IndexError, TypeError, struct.error):
                image: Image.Image = make(file, "")
                if image.width * image.height <= (Image.MAX_IMAGE_PIXELS or math.inf):
                    return image
    return None


def is_postscript(file: IO[bytes]) -> bool:
    """Whether Pillow would run Ghostscript for a seekable file."""
    return _starts_with(file, *POSTSCRIPT)


def is_array(file: IO[bytes]) -> bool:
    """Whether a seekable file is a NumPy array."""
    return _starts_with(file, ARRAY)


def is_tiff(file: IO[bytes]) -> bool:
    """Whether a seekable file is a TIFF of any kind."""
    return _starts_with(file, *TIFF)


def _starts_with(file: IO[bytes], *magic: bytes) -> bool:
    """Whether a file starts with one of these; leaves it at its start."""
    file.seek(0)
    start = file.read(max(map(len, magic)))
    file.seek(0)
    return start.startswith(magic)


def is_heif(file: IO[bytes]) -> bool:
    """Whether a seekable file declares itself HEIF; some AVIF files do too."""
    file.seek(0)
    head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:] in HEIF_BRANDS


@cache
def has_heif() -> bool:
    """Whether the extra `heic` is installed."""
    return find_spec("pi_heif") is not None


def _register_heif() -> None:
    """Register HEIF with Pillow if the extra is installed and nobody else has done so."""
    with _importing:
        if "HEIF" not in Image.OPEN and has_heif():
            import pi_heif

            pi_heif.register_heif_opener()


def _all_formats() -> tuple[str, ...]:
    """Return those of `FORMATS` that this Pillow reads, in the order in which it tries them."""
    with _importing:  # if two threads import plugins at once, one of them misses some
        _settle_rare()
        Image.init()
    return tuple(name for name in Image.ID if name in FORMATS and name in Image.OPEN)


@cache
def _settle() -> None:
    """Silence Pillow, if the process is the program's own.

    In a user's process that imported `cnn_cli`, Pillow is not changed.
    """
    if system.process_is_ours():
        # Pillow warns about unusual metadata; `load_image` decides whether an image is usable. The
        # filter is process-wide because catch_warnings is not thread-safe.
        warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
        logging.getLogger("PIL").addHandler(logging.NullHandler())


@cache
def _settle_rare() -> None:
    """Silence its rarer plugins too: libtiff writes to stderr, and EPS runs a program."""
    if not system.process_is_ours():
        return
    import ctypes

    from PIL import EpsImagePlugin

    EpsImagePlugin.gs_binary = False  # a precaution: nothing here opens EPS
    with suppress(OSError, AttributeError):  # a statically linked libtiff keeps its handler
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


def has_frames(image: Image.Image) -> bool:
    """Whether an opened file has more than one frame; only the first is used."""
    if image.format in ("MPO", "PSD"):  # with a preview or a second eye; with layers
        return False
    with suppress(Exception):  # the second frame is damaged
        return bool(getattr(image, "is_animated", False))
    return False
