"""Large JPEGs decoded at a reduced size give nearly the same result."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from data_samples import encoded, noise
from PIL import Image, JpegImagePlugin

from cnn_cli.data import draft, upright
from cnn_cli.data.decode import load_image
from cnn_cli.data.depth import Pixels
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.resize import BILINEAR

COLOR = Preprocess(16, 16, 3)


def scene(height: int, width: int) -> Image.Image:
    """Return a synthetic photograph: slopes, edges and some texture, different on every side."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    red = 255 * x
    green = 255 * np.square(y)
    blue = 40 + 180 * ((x > 0.8) ^ (y > 0.6)) + 20 * np.sin(90 * x) * np.sin(70 * y)
    return Image.fromarray(np.stack([red, green, blue], axis=2).astype(np.uint8))


@pytest.fixture(autouse=True)
def any_size_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat small images as large ones."""
    monkeypatch.setattr(draft, "LARGE", 0)


def jpeg(image: Image.Image, **options: object) -> bytes:
    return encoded(image, "JPEG", quality=92, **options)


def whole(data: bytes, pre: Preprocess, monkeypatch: pytest.MonkeyPatch) -> Pixels:
    """Decode the image at its full size."""
    with monkeypatch.context() as patch:
        patch.setattr(draft, "FACTORS", ())
        return load_image(data, pre)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The factors by which images were reduced."""
    factors: list[int] = []
    loaded = JpegImagePlugin.JpegImageFile.load_prepare

    def prepare(image: JpegImagePlugin.JpegImageFile) -> None:
        factors.extend(image.decoderconfig[:1])
        loaded(image)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load_prepare", prepare)
    return factors


@pytest.mark.parametrize(
    ("side", "factors"),
    [(16, []), (63, []), (64, [2]), (127, [2]), (128, [4]), (255, [4]), (256, [8]), (900, [8])],
)
def test_what_is_left_is_twice_as_large_as_needed(
    asked: list[int], side: int, factors: list[int]
) -> None:
    load_image(jpeg(scene(side, side)), COLOR)
    assert asked == factors


@pytest.mark.parametrize(("mode", "factors"), [("crop", [2]), ("squash", [2]), ("letterbox", [8])])
def test_the_side_that_is_needed_most_decides(
    asked: list[int], mode: str, factors: list[int]
) -> None:
    # 400 by 100 become 96 by 24, 12 by 24, and 12 by 3.
    pre = Preprocess(24, 12, 3, mode)  # type: ignore[arg-type]  # a parameter is any text
    load_image(jpeg(scene(100, 400)), pre)
    assert asked == factors


@pytest.mark.parametrize("mode", ["crop", "squash", "letterbox"])
@pytest.mark.parametrize("size", [(301, 403), (410, 299), (333, 333)])
@pytest.mark.parametrize("channels", [1, 3])
def test_close_to_the_whole_decode(
    monkeypatch: pytest.MonkeyPatch,
    asked: list[int],
    mode: str,
    size: tuple[int, int],
    channels: int,
) -> None:
    pre = Preprocess(32, 24, channels, mode)  # type: ignore[arg-type]  # a parameter is any text
    data = jpeg(scene(*size))
    x = load_image(data, pre)
    assert x.shape == (32, 24, channels)
    assert asked in ([4], [8])
    difference = np.abs(x.astype(int) - whole(data, pre, monkeypatch))
    assert difference.mean() < 0.7
    assert difference.max() <= 9


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_and_through_a_pixel(
    monkeypatch: pytest.MonkeyPatch, asked: list[int], orientation: int
) -> None:
    """265 by 321 are 33 1/8 by 40 1/8 pixels at an eighth."""
    monkeypatch.setattr(draft, "GAP", 1)
    exif = Image.Exif()
    exif[upright.ORIENTATION] = orientation
    data = jpeg(scene(265, 321), exif=exif)
    pre = Preprocess(30, 30, 3)
    x = load_image(data, pre)
    assert asked == [8]
    difference = np.abs(x.astype(int) - whole(data, pre, monkeypatch))
    assert difference.mean() < 1.5
    assert np.percentile(difference, 95) <= 6


def test_orientation_decides_which_side_is_needed(asked: list[int]) -> None:
    exif = Image.Exif()
    for orientation, factor in ((1, 4), (3, 4), (6, 2), (8, 2)):
        exif[upright.ORIENTATION] = orientation
        load_image(jpeg(scene(128, 64), exif=exif), Preprocess(16, 8, 3, "squash"))
        assert asked.pop() == factor


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_small_ones_are_decoded_whole(options: dict[str, object]) -> None:
    data = jpeg(scene(60, 62), **options)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.resize((16, 16), BILINEAR))
    x = load_image(data, Preprocess(16, 16, 3, "squash"))
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP"])
def test_other_kinds_are_decoded_whole(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    image = scene(200, 300)
    x = load_image(encoded(image, kind, **options), Preprocess(16, 16, 3, "squash"))
    np.testing.assert_array_equal(x, np.asarray(image.resize((16, 16), BILINEAR)))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_modes(monkeypatch: pytest.MonkeyPatch, asked: list[int], mode: str, channels: int) -> None:
    pre = Preprocess(16, 16, channels)
    data = jpeg(scene(201, 203).convert(mode))
    x = load_image(data, pre)
    assert asked == [4]
    assert np.abs(x.astype(int) - whole(data, pre, monkeypatch)).mean() < 0.7


def test_the_first_picture_of_several(monkeypatch: pytest.MonkeyPatch, asked: list[int]) -> None:
    data = encoded(scene(201, 203), "MPO", save_all=True, append_images=[scene(203, 201)])
    x = load_image(data, COLOR)
    assert asked == [4]
    assert np.abs(x.astype(int) - whole(data, COLOR, monkeypatch)).mean() < 0.7


def lossless_jpeg(height: int, width: int) -> bytes:
    """Return a gray image of value 128: every difference from the predicted value is 0."""

    def segment(marker: int, body: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body

    frame = segment(0xC3, struct.pack(">BHHB3B", 8, height, width, 1, 1, 0x11, 0))
    codes = segment(0xC4, bytes([0, 1, *[0] * 15, 0]))  # one bit, for a difference of no bits
    scan = segment(0xDA, bytes([1, 1, 0, 1, 0, 0]))
    return b"\xff\xd8" + frame + codes + scan + bytes(height * width // 8) + b"\xff\xd9"


def test_lossless_ones_are_decoded_whole() -> None:
    data = lossless_jpeg(320, 240)
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except OSError:
        pytest.skip("this libjpeg cannot decode lossless JPEG")
    assert (load_image(data, COLOR) == 128).all()


def test_truncated(asked: list[int]) -> None:
    data = jpeg(Image.fromarray(noise(200, 200, 3)))
    with pytest.raises(ImageError) as caught:
        load_image(data[: len(data) * 2 // 3], COLOR, "a")
    assert asked == [4]
    assert caught.value.line() == "a: truncated or damaged."


def test_the_limit_holds_for_the_size_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 39_999)
    with pytest.raises(ImageError, match="Got 40000 pixels"):
        load_image(jpeg(scene(200, 200)), COLOR)


def test_less_than_a_million_pixels_are_decoded_whole(
    monkeypatch: pytest.MonkeyPatch, asked: list[int]
) -> None:
    monkeypatch.setattr(draft, "LARGE", 200 * 200)
    for side, factors in ((199, []), (200, [4])):
        asked.clear()
        load_image(jpeg(Image.fromarray(noise(side, side, 3))), Preprocess(16, 16, 3, "squash"))
        assert asked == factors
