"""Which files are opened as images, and how: the only place that calls `Image.open`.

Pillow would open whatever one of its plugins takes a file for, and some of those run a program,
or hand what they find inside the file to any other plugin. So the formats are named. A format is
read where its plugin decodes pixels inside this process, and opens nothing but its own content.
"""

from __future__ import annotations

import logging
import math
import struct
import threading
import warnings
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import IO

from PIL import Image, UnidentifiedImageError, _imaging

from cnn_cli import system

COMMON = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM")
"""What Pillow opens without importing its rarer plugins, which takes a while."""

FORMATS = frozenset(
    [
        # Photographs and graphics of cameras, phones, scanners, browsers and office programs.
        *COMMON,
        *("AVIF", "JPEG2000", "TIFF", "WEBP"),
        "MPO",  # a JPEG with a second one behind it, as cameras and phones write
        "HEIF",  # of phones: read by pi-heif, the extra `heic`
        # What image editors keep: the flattened picture of a PSD, and lossless exchange formats.
        *("PCX", "DCX", "PSD", "QOI", "SGI", "SUN", "TGA"),
        # Icons and cursors, of which the largest is taken; what they hold is PNG, BMP or JPEG 2000,
        # which their plugins decode themselves.
        *("CUR", "ICNS", "ICO"),
        # Small pictures as text or bits, of X11 and of early Windows.
        *("MSP", "XBM", "XPM", "XVTHUMB"),
        # Scientific cameras: telescopes, electron microscopes, weather satellites.
        *("FITS", "IM", "IMT", "MCIDAS", "SPIDER"),
        # Textures of games, and what painting programs use as brushes.
        *("BLP", "DDS", "FTEX", "GBR"),
        # Archives of the nineties: Photo CD, Autodesk's animations, Pixar's frames.
        *("FLI", "PCD", "PIXAR"),
    ]
)

# Left out, and why. A test sees that each plugin of Pillow stands in one of the two.
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
POSTSCRIPT = (b"%!PS", b"\xc5\xd0\xd3\xc6")  # plain, and with a preview for DOS

PLUGINS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG"}
"""Most images, by how they begin: each is opened by a plugin that needs none of the others."""

_importing = threading.Lock()


def import_common() -> None:
    """Import the plugins of `COMMON`, before threads hold all files that may be open."""
    with _importing:
        Image.preinit()


def open_image(file: IO[bytes]) -> Image.Image:
    """What `Image.open` makes of a seekable binary file in one of `FORMATS`; its pixels are not
    decoded yet. The caller closes both.

    Safe to call from several threads.

    Raises:
        UnidentifiedImageError: it is in no such format.
        Exception: nearly any, of damaged files.
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
    """The same by one of `PLUGINS`; None of what it refuses: `Image.open` says why."""
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
    """Whether a seekable file is what Ghostscript would be run for."""
    return _starts_with(file, *POSTSCRIPT)


def is_array(file: IO[bytes]) -> bool:
    """Whether a seekable file is an array of NumPy's."""
    return _starts_with(file, ARRAY)


def is_tiff(file: IO[bytes]) -> bool:
    """Whether a seekable file is a TIFF, of whatever kind."""
    return _starts_with(file, *TIFF)


def _starts_with(file: IO[bytes], *magic: bytes) -> bool:
    """The file is at its start afterwards."""
    file.seek(0)
    start = file.read(max(map(len, magic)))
    file.seek(0)
    return start.startswith(magic)


def is_heif(file: IO[bytes]) -> bool:
    """Whether a seekable file says that it is HEIF; some AVIF says so too."""
    file.seek(0)
    head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:] in HEIF_BRANDS


@cache
def has_heif() -> bool:
    """Whether the extra `heic` is installed."""
    return find_spec("pi_heif") is not None


def _register_heif() -> None:
    """Have Pillow know HEIF, if the extra is installed and nobody else has done so."""
    with _importing:
        if "HEIF" not in Image.OPEN and has_heif():
            import pi_heif

            pi_heif.register_heif_opener()


def _all_formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow can read, in the order in which it would try them."""
    with _importing:  # of two threads that import plugins, one would miss some
        _settle_rare()
        Image.init()
    return tuple(name for name in Image.ID if name in FORMATS and name in Image.OPEN)


@cache
def _settle() -> None:
    """Have Pillow write nothing, where the process is the program's own.

    In a process of somebody else's, who imported `cnn_cli`, Pillow is left as it is.
    """
    if system.process_is_ours():
        # Pillow talks about odd metadata; whether an image is good is for `load_image` to say. The
        # filter stands for the whole process because catch_warnings is not thread-safe.
        warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
        logging.getLogger("PIL").addHandler(logging.NullHandler())


@cache
def _settle_rare() -> None:
    """The same for what its rarer plugins do: libtiff writes to stderr, and EPS runs a program."""
    if not system.process_is_ours():
        return
    import ctypes

    from PIL import EpsImagePlugin

    EpsImagePlugin.gs_binary = False  # though nothing here would open EPS
    with suppress(OSError, AttributeError):  # a libtiff that is built in keeps its handler
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
