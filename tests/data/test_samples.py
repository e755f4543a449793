"""Images with any bands and bits: their original values, or an error."""

from __future__ import annotations

import builtins
import io
import struct
import warnings
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from band_samples import npy, png_16, tiff, triangle_resize
from data_samples import encoded, noise
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnn_cli.data.cache import ImageCache
from cnn_cli.data.decode import fit_image, load_image, read_image, upright_size
from cnn_cli.data.depth import Depth
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.preprocess import Preprocess, ResizeMode
from cnn_cli.data.resize import fit_bands
from cnn_cli.data.samples import Facts, depth_of, facts_of, fit_array
from cnn_cli.data.upright import ORIENTATIONS, turn_array
from cnn_cli.errors import UsageError

SIZE = (9, 7)
WHOLE = np.random.default_rng(0).integers(0, 65536, (*SIZE, 5), dtype=np.uint16)
REAL = np.random.default_rng(1).normal(-5, 300, (*SIZE, 5))
NOT_FINITE = "a: holds a number that is not finite."
MODES: tuple[ResizeMode, ...] = get_args(ResizeMode)


def pre(channels: int, depth: Depth, mode: ResizeMode = "crop") -> Preprocess:
    return Preprocess(*SIZE, channels, mode, depth)


def problem(source: bytes | str, wanted: Preprocess) -> str:
    found = read_image(source, wanted, "a")
    assert isinstance(found, ImageError)
    return found.line()


@pytest.mark.parametrize("dtype", [">u2", "<u2", "F"])
def test_arrays_as_they_are(dtype: str) -> None:
    values = np.asfortranarray(WHOLE) if dtype == "F" else WHOLE.astype(dtype)
    x = load_image(npy(values), pre(5, 16))
    assert x.dtype == np.uint16
    np.testing.assert_array_equal(x, WHOLE)
    np.testing.assert_array_equal(load_image(npy(values[..., 0]), pre(1, 16)), WHOLE[..., :1])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16, np.uint32, bool])
def test_float_takes_every_number_as_it_is(dtype: Any) -> None:
    values = REAL.astype(dtype) if dtype is not np.uint32 else WHOLE.astype(np.uint32) << 15
    x = load_image(npy(values), pre(5, "float"))
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, values.astype(np.float32))


def test_eight_bits_are_widened_and_sixteen_narrowed() -> None:
    eight = (WHOLE >> 8).astype(np.uint8)
    np.testing.assert_array_equal(load_image(npy(WHOLE), pre(5, 8)), eight)
    np.testing.assert_array_equal(load_image(npy(eight), pre(5, 16)), eight * np.uint16(257))


def test_an_array_of_bytes_is_as_the_picture_of_them(tmp_path: Path) -> None:
    colors = noise(40, 30, 3)
    path = tmp_path / "a.npy"
    np.save(path, colors)
    for channels in (1, 3):
        for mode in MODES:
            wanted = Preprocess(16, 12, channels, mode)
            expected = load_image(encoded(Image.fromarray(colors)), wanted)
            np.testing.assert_array_equal(load_image(str(path), wanted), expected)
    assert upright_size(str(path)) == (30, 40)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(16, 12), (12, 40), (5, 5), (50, 60)])
def test_bands_are_resized_as_color_is(mode: ResizeMode, size: tuple[int, int]) -> None:
    colors = noise(40, 30, 3)
    whole = load_image(encoded(Image.fromarray(colors)), Preprocess(*size, 3, mode))
    np.testing.assert_array_equal(fit_bands(colors, size, mode), whole)


@pytest.mark.parametrize("size", [(9, 7), (5, 4), (20, 31), (1, 1)])
def test_resize_against_a_slow_one(size: tuple[int, int]) -> None:
    real = REAL.astype(np.float32)
    expected = triangle_resize(real, *size)
    np.testing.assert_allclose(fit_bands(real, size, "squash"), expected, rtol=1e-5, atol=1e-3)
    # The slow version rounds once; Pillow also rounds to float32 between both axes.
    difference = fit_bands(WHOLE, size, "squash") - np.rint(triangle_resize(WHOLE, *size))
    assert np.abs(difference).max() <= 1


def test_letterbox_fills_up_with_gray_or_the_mean() -> None:
    wide = WHOLE[:3]
    for x, fill in ((wide, 114 * 257), (REAL[:3].astype(np.float32), None)):
        filled = fit_bands(x, (7, 7), "letterbox")
        mean = x.astype(np.float64).mean(axis=(0, 1)) if fill is None else fill
        np.testing.assert_allclose(filled[0], np.broadcast_to(mean, (7, 5)), rtol=1e-6)
        np.testing.assert_array_equal(filled[2:5], x)


def test_turned_as_pillow_does() -> None:
    picture = noise(4, 6, 3)
    for orientation, method in ORIENTATIONS.items():
        expected = np.asarray(Image.fromarray(picture).transpose(method))
        np.testing.assert_array_equal(turn_array(picture, orientation), expected)
    np.testing.assert_array_equal(turn_array(picture, 1), picture)


def test_png_of_sixteen_bits_in_full() -> None:
    np.testing.assert_array_equal(load_image(png_16(WHOLE[..., :3]), pre(3, 16)), WHOLE[..., :3])
    np.testing.assert_array_equal(load_image(png_16(WHOLE[..., :4]), pre(4, 16)), WHOLE[..., :4])
    gray = load_image(png_16(WHOLE[..., :1]), pre(3, 16))
    np.testing.assert_array_equal(gray, np.repeat(WHOLE[..., :1], 3, axis=2))
    assert problem(png_16(WHOLE[..., :2]), pre(1, 16)) == (
        "a: has 16 bits per band, and Pillow reads only 8: save it as TIFF or .npy. "
        "Got gray with transparency."
    )


def test_alpha_is_laid_over_white() -> None:
    color, alpha = WHOLE[..., :3].astype(np.float64), WHOLE[..., 3:4] / 65535
    expected = np.rint(color * alpha + 65535 * (1 - alpha))
    np.testing.assert_array_equal(load_image(png_16(WHOLE[..., :4]), pre(3, 16)), expected)


@pytest.mark.parametrize("bands", [2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_opacity_is_relative_to_the_files_own_type(bands: int, dtype: Any) -> None:
    """Numbers of `float` are those of the file, and so is white."""
    full = 1 if dtype == np.float32 else np.iinfo(dtype).max
    values = (WHOLE[..., :bands] / 65535 * full).astype(dtype)
    alpha = values[..., -1:] / full
    expected = values[..., :-1] * alpha + full * (1 - alpha)
    wanted = pre(bands - 1, "float")
    found = load_image(
        tiff(
            values,
            photometric="rgb" if bands == 4 else "minisblack",
            planarconfig="contig",
            extrasamples=["unassalpha"],
        ),
        wanted,
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    if dtype == np.uint8:
        found = fit_image(Image.fromarray(values), wanted, "a")
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("depth", [8, 16, "float"])
def test_white_is_zero(depth: Depth) -> None:
    """As X-ray scans are stored."""
    gray = WHOLE[..., 0]
    inverted = tiff(65535 - gray, photometric="miniswhite")
    expected = load_image(tiff(gray, photometric="minisblack"), pre(1, depth))
    np.testing.assert_array_equal(load_image(inverted, pre(1, depth)), expected)
    with Image.open(io.BytesIO(inverted)) as image:
        np.testing.assert_array_equal(fit_image(image, pre(1, depth), "a"), expected)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("key", [(0, 0, 0), (0x1234, 0x1234, 0x1234)])
def test_the_transparent_color_of_a_png_of_sixteen_bits(
    depth: Depth, key: tuple[int, int, int]
) -> None:
    """Pillow would compare its bits with the upper eight of the pixels."""
    x = np.full((*SIZE, 3), 0x1234, np.uint16)
    x[:, :3], x[:, 5:] = 0, 200
    expected = np.where((x == key).all(axis=2, keepdims=True), 65535, x)
    data = png_16(x, key)
    whole = expected if depth == 16 else expected >> 8
    np.testing.assert_array_equal(load_image(data, pre(3, depth)), whole)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(fit_image(image, pre(3, depth), "a"), whole)


def test_color_to_gray_is_pillows() -> None:
    colors = noise(*SIZE, 3)
    expected = np.asarray(Image.fromarray(colors).convert("L"))[..., None]
    np.testing.assert_array_equal(load_image(npy(colors), pre(1, 8)), expected)
    sixteen = load_image(npy(colors), pre(1, 16))
    np.testing.assert_allclose(sixteen / 257, expected, atol=0.51)
    np.testing.assert_allclose(load_image(npy(colors), pre(1, "float")), expected, atol=0.51)


def test_other_modes_of_pillow_become_their_bands() -> None:
    colors = noise(*SIZE, 3)
    image = Image.fromarray(colors)
    for each, channels in ((image, 3), (image.convert("L"), 1), (image.convert("P"), 3)):
        expected = load_image(encoded(each), pre(channels, 8)).astype(np.uint16) * 257
        np.testing.assert_array_equal(load_image(encoded(each), pre(channels, 16)), expected)
    cmyk = encoded(image.convert("CMYK"), "TIFF")
    np.testing.assert_array_equal(load_image(cmyk, pre(4, 8)), np.asarray(image.convert("CMYK")))


@pytest.mark.parametrize(
    ("source", "wanted", "line"),
    [
        (npy(WHOLE), pre(4, 16), "a: must have 4 bands, as data.channels says. Got 5 bands."),
        (npy(WHOLE), pre(3, 16), "a: must be grayscale or color for data.channels 3. Got 5 bands."),
        (npy(WHOLE), pre(1, 8), "a: must be grayscale or color for data.channels 1. Got 5 bands."),
        (
            npy(WHOLE[..., 0]),
            pre(5, 16),
            "a: must have 5 bands, as data.channels says. Got 1 band.",
        ),
        (
            npy(REAL),
            pre(5, 16),
            "a: must have whole numbers of 8 or 16 bits for data.depth 16. Got float64.",
        ),
        (
            npy(REAL[..., :3]),
            pre(3, 8),
            "a: must have whole numbers of 8 or 16 bits for data.depth 8. Got float64.",
        ),
        (npy(np.where(REAL > 0, REAL, np.nan)), pre(5, "float"), NOT_FINITE),
        (npy(np.where(REAL > 0, REAL, np.inf)), pre(5, "float"), NOT_FINITE),
        (npy(1e300 * REAL), pre(5, "float"), NOT_FINITE),
        (npy(np.array([[None]])), pre(1, 8), "a: must be an array of numbers. Got object."),
        (npy(np.ones((3, 3), "c8")), pre(1, 8), "a: must be an array of numbers. Got complex64."),
        (
            npy(np.ones(4)),
            pre(1, 8),
            "a: must be an array of (height, width) or (height, width, bands). Got shape (4,).",
        ),
        (npy(WHOLE)[:-1], pre(5, 16), "a: truncated or damaged."),
        (npy(WHOLE)[:20], pre(5, 16), "a: truncated or damaged."),
        (npy(WHOLE[:0]), pre(5, 16), "a: has no pixels. Got 7x0."),
        (b"not a picture", pre(5, 16), "a: not an image Pillow can read."),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(source: bytes, wanted: Preprocess, line: str) -> None:
    assert problem(source, wanted) == line


def test_a_huge_array_is_refused_before_memory_is_taken() -> None:
    header = io.BytesIO()
    shape = {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**9)}
    np.lib.format.write_array_header_1_0(header, shape)
    assert problem(header.getvalue(), pre(1, "float")) == "a: truncated or damaged."


def test_more_pixels_than_pillow_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 62)
    line = "a: has more pixels than Pillow's limit of 62. Got 63 pixels."
    assert problem(npy(WHOLE), pre(5, 16)) == line
    assert problem(png_16(WHOLE[..., :3]), pre(3, 16)) == line


@given(st.binary(max_size=200), st.sampled_from([pre(5, 16), pre(3, 8), pre(1, "float")]))
@settings(deadline=None, max_examples=200)
def test_hostile_headers_are_one_line(rest: bytes, wanted: Preprocess) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = read_image(b"\x93NUMPY" + rest, wanted, "a")
    assert isinstance(found, ImageError)


def test_facts() -> None:
    def facts(source: bytes) -> Facts:
        return facts_of(io.BytesIO(source), "a")

    size = SIZE[::-1]
    assert facts(npy(WHOLE)) == Facts(size, 5, 16)
    assert facts(npy(REAL[..., 0])) == Facts(size, 1, "float")
    assert facts(png_16(WHOLE[..., :4])) == Facts(size, 3, 16)
    assert facts(png_16(WHOLE[..., :1])) == Facts(size, 1, 16)
    assert facts(encoded(Image.fromarray(noise(*SIZE, 3)))) == Facts(size, 3, 8)


def test_arrays_of_a_caller() -> None:
    np.testing.assert_array_equal(fit_array(WHOLE, pre(5, 16), "a"), WHOLE)
    with pytest.raises(ImageError, match="not finite"):
        fit_array(np.full((3, 3), np.nan), pre(1, "float"), "a")


def test_pictures_of_pillow_in_full() -> None:
    content = png_16(WHOLE[..., :3])
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(fit_image(image, pre(3, 16), "a"), WHOLE[..., :3])
        image.load()  # decoded pixels have 8 bits
        eight = (WHOLE[..., :3] >> 8) * np.uint16(257)
        np.testing.assert_array_equal(fit_image(image, pre(3, 16), "a"), eight)
    gray = Image.fromarray(WHOLE[..., 0])
    np.testing.assert_array_equal(fit_image(gray, pre(1, 16), "a"), WHOLE[..., :1])


def test_cache_keeps_the_type(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{i}.npy") for i in range(3)]
    for i, path in enumerate(paths):
        np.save(path, REAL + i)
    for mode in ("ram", "disk"):
        wanted = pre(5, "float")
        with ImageCache.open(mode, paths, wanted, folder=tmp_path) as cache:
            assert cache.nbytes == 3 * REAL.size * 4
            for i in (2, 0, 1):
                cache.get(i)
            kept = cache.get(1)
            assert kept.dtype == np.float32
            assert kept.flags.aligned
            np.testing.assert_array_equal(kept, (REAL + 1).astype(np.float32))


class TestTiff:
    """TIFF files that Pillow cannot read in full."""

    @pytest.fixture(autouse=True)
    def _tifffile(self) -> None:
        pytest.importorskip("tifffile")
        pytest.importorskip("imagecodecs")

    @pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"photometric": "rgb", "planarconfig": "contig"},
            {"photometric": "minisblack", "planarconfig": "separate"},
            {"photometric": "minisblack"},
        ],
    )
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
    def test_many_bands(self, compression: Any, options: dict[str, str], dtype: Any) -> None:
        values = WHOLE.astype(dtype)
        laid_out = values if options.get("planarconfig", "contig") == "contig" else None
        if laid_out is None or options == {"photometric": "minisblack"}:
            laid_out = np.ascontiguousarray(values.transpose(2, 0, 1))  # planes, or pages
        content = tiff(laid_out, compression=compression, **options)
        depth = depth_of(np.dtype(dtype))
        np.testing.assert_array_equal(load_image(content, pre(5, depth)), values)
        if options != {"photometric": "minisblack"}:
            assert facts_of(io.BytesIO(content), "a") == Facts(SIZE[::-1], 5, depth)

    @pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8"])
    def test_one_band_of_every_kind(self, dtype: Any) -> None:
        values = (WHOLE[..., 0].astype(np.uint32) << (15 if dtype == "u4" else 0)).astype(dtype)
        x = load_image(tiff(values), pre(1, "float"))
        np.testing.assert_array_equal(x[..., 0], values.astype(np.float32))

    def test_color_and_turned(self) -> None:
        content = tiff(WHOLE[..., :3], photometric="rgb", extratags=[(274, "H", 1, 6, False)])
        wanted = Preprocess(SIZE[1], SIZE[0], 3, "crop", 16)
        np.testing.assert_array_equal(load_image(content, wanted), turn_array(WHOLE[..., :3], 6))
        assert facts_of(io.BytesIO(content), "a").size == SIZE

    def test_white_is_zero(self) -> None:
        content = tiff(WHOLE[..., 0], photometric="miniswhite")
        np.testing.assert_array_equal(
            load_image(content, pre(1, 16))[..., 0], 65535 - WHOLE[..., 0]
        )

    def test_other_pages_are_no_bands(self) -> None:
        content = tiff(WHOLE.transpose(2, 0, 1), photometric="minisblack")
        line = "a: must have 4 bands, as data.channels says. Got 1 band."
        assert problem(content, pre(4, 16)) == line

    @pytest.mark.parametrize("compression", [None, "lzw"])
    def test_damaged(self, compression: Any) -> None:
        content = tiff(WHOLE, compression=compression)
        assert problem(content[:-200], pre(5, 16)) == "a: truncated or damaged."
        rng = np.random.default_rng(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(60):
                changed = bytearray(content)
                for place in rng.integers(8, 300, 3):
                    changed[place] = rng.integers(256)
                found = read_image(bytes(changed), pre(5, 16), "a")
                if isinstance(found, ImageError):
                    assert found.line().count("\n") == 0

    def test_missing_parts_are_not_made_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[object] = []
        monkeypatch.setattr("tifffile.TiffPage.asarray", lambda page, **_: asked.append(page))
        content = bytearray(tiff(WHOLE, tile=(16, 16), compression="lzw"))
        width = content.index(struct.pack("<HH", 256, 4)) + 8  # of the tag's value
        content[width : width + 4] = struct.pack("<I", 10**6)
        wanted = Preprocess(8, 8, 5, "crop", 16)
        assert problem(bytes(content), wanted) == "a: truncated or damaged."
        assert not asked  # tifffile would be busy with it for long

    def test_default_reading_names_the_bands(self) -> None:
        line = "a: must be grayscale or color for data.channels 3. Got 5 bands."
        assert problem(tiff(WHOLE), pre(3, 8)) == line

    def test_without_tifffile(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        imported = builtins.__import__

        def absent(name: str, *rest: Any) -> Any:
            if name == "tifffile":
                raise ImportError(name)
            return imported(name, *rest)

        content = tiff(WHOLE)
        (tmp_path / "a.tif").write_bytes(content)
        gray = encoded(Image.fromarray(WHOLE[..., 0]), "TIFF")
        monkeypatch.setattr(builtins, "__import__", absent)
        np.testing.assert_array_equal(load_image(gray, pre(1, 16)), WHOLE[..., :1])
        rule = "needs tifffile; install it with pip install 'cnn-cli[tiff]'"
        assert problem(content, pre(5, 16)) == f"a: {rule}."
        assert problem(content, pre(3, 8)) == "a: not an image Pillow can read."
        with ImageCache.open("none", [str(tmp_path / "a.tif")], pre(5, 16)) as cache:
            with pytest.raises(UsageError, match="needs tifffile"):
                cache.get(0)
            assert not cache.bad
