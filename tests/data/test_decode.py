"""Every kind of image file is decoded to the same kind of array, or gives one clear error."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from band_samples import tiff
from data_samples import Pixels, encoded, noise
from PIL import Image, ImageCms

from cnn_cli.data import upright
from cnn_cli.data.decode import fit_image, load_image, upright_size
from cnn_cli.data.depth import Depth
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.samples import facts_of

GRAY = Preprocess(6, 8, 1)
COLOR = Preprocess(6, 8, 3)
COLORS = noise(6, 8, 3)
SHADES = noise(6, 8, 1)


def test_color_as_it_is() -> None:
    x = load_image(encoded(Image.fromarray(COLORS)), COLOR)
    assert x.shape == (6, 8, 3)
    assert x.dtype == np.uint8
    np.testing.assert_array_equal(x, COLORS)


def test_gray_as_it_is() -> None:
    data = encoded(Image.fromarray(SHADES))
    np.testing.assert_array_equal(load_image(data, GRAY), SHADES[:, :, None])
    np.testing.assert_array_equal(load_image(data, COLOR), np.stack([SHADES] * 3, axis=2))


def test_color_to_gray_is_pillows() -> None:
    image = Image.fromarray(COLORS)
    x = load_image(encoded(image), GRAY)
    np.testing.assert_array_equal(x[:, :, 0], np.asarray(image.convert("L")))


def test_one_bit() -> None:
    image = Image.fromarray(SHADES).convert("1")
    x = load_image(encoded(image), GRAY)
    np.testing.assert_array_equal(x[:, :, 0], np.asarray(image, np.uint8) * 255)


def test_palette() -> None:
    image = Image.fromarray(COLORS).quantize(16)
    x = load_image(encoded(image), COLOR)
    np.testing.assert_array_equal(x, np.asarray(image.convert("RGB")))


def test_palette_with_a_transparent_entry() -> None:
    image = Image.new("P", (8, 6), 0)
    image.putpalette([200, 0, 0, 0, 100, 0])
    image.paste(1, (0, 0, 4, 6))
    for kind in ("PNG", "GIF"):
        x = load_image(encoded(image, kind, transparency=0), COLOR)
        assert (x[:, :4] == (0, 100, 0)).all()
        assert (x[:, 4:] == 255).all()


def test_palette_with_alpha_for_each_entry() -> None:
    image = Image.new("P", (8, 6), 0)
    image.putpalette([200, 0, 0])
    x = load_image(encoded(image, transparency=bytes([51])), COLOR)  # a fifth
    assert (x == (244, 204, 204)).all()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_lies_over_white(kind: str) -> None:
    colors = np.zeros((6, 8, 4), np.uint8)
    colors[:, :, 0] = 200
    colors[:, :4, 3] = 255
    colors[:2, :4, 3] = 51
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    x = load_image(encoded(Image.fromarray(colors), kind, **options), COLOR)
    assert (x[:2, :4] == (244, 204, 204)).all()
    assert (x[2:, :4] == (200, 0, 0)).all()
    assert (x[:, 4:] == 255).all()


def test_gray_with_alpha() -> None:
    image = Image.merge("LA", [Image.new("L", (8, 6), 100), Image.new("L", (8, 6), 51)])
    assert (load_image(encoded(image), GRAY) == 224).all()


def test_gray_with_a_transparent_shade() -> None:
    image = Image.new("L", (8, 6), 9)
    image.putpixel((3, 2), 10)
    x = load_image(encoded(image, transparency=9), GRAY)
    assert x[2, 3] == 10
    assert np.count_nonzero(x == 255) == 47


def test_color_with_a_transparent_color() -> None:
    image = Image.new("RGB", (8, 6), (1, 2, 3))
    image.putpixel((3, 2), (4, 5, 6))
    x = load_image(encoded(image, transparency=(1, 2, 3)), COLOR)
    assert x[2, 3].tolist() == [4, 5, 6]
    assert np.count_nonzero(x == 255) == 47 * 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_lose_the_lower_eight(kind: str) -> None:
    x16 = (SHADES.astype(np.uint16) << 8) + 255 - SHADES
    x = load_image(encoded(Image.fromarray(x16), kind), GRAY)
    np.testing.assert_array_equal(x[:, :, 0], SHADES)


def test_sixteen_bits_big_endian() -> None:
    x16 = SHADES.astype(np.uint16) * 257
    image = Image.frombytes("I;16B", (8, 6), x16.astype(">u2").tobytes())
    x = load_image(encoded(image, "TIFF"), COLOR)
    np.testing.assert_array_equal(x[:, :, 1], SHADES)


def test_sixteen_bits_with_a_transparent_shade() -> None:
    image = Image.fromarray(np.full((6, 8), 1000, np.uint16))
    image.putpixel((3, 2), 2560)
    x = load_image(encoded(image, transparency=1000), GRAY)
    assert x[2, 3] == 10
    assert np.count_nonzero(x == 255) == 47


def test_whole_numbers_are_clipped_to_sixteen_bits() -> None:
    numbers = np.zeros((6, 8), np.int32)
    numbers[0, :3] = -5, 70_000, 512
    x = fit_image(Image.fromarray(numbers), GRAY, "a")
    assert x[0, :3, 0].tolist() == [0, 255, 2]


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32])
def test_whole_numbers_of_other_types_are_refused(dtype: Any) -> None:
    """As with `data.depth: 16`: which of their bits are a picture is unknown."""
    with pytest.raises(ImageError) as caught:
        load_image(tiff(np.full((6, 8), 300, dtype)), GRAY, "a")
    rule = "must have whole numbers of 8 or 16 bits for data.depth 8"
    assert caught.value.line() == f"a: {rule}. Got 32 bits, or a sign."


def test_floats_are_refused() -> None:
    """Which value is white is unknown: the largest of an image may be that of a dark one."""
    numbers = Image.fromarray(np.full((6, 8), 0.5, np.float32))
    message = "a: must have whole numbers of 8 or 16 bits for data.depth 8. Got floats."
    for kind in ("TIFF", "SPIDER"):
        with pytest.raises(ImageError) as caught:
            load_image(encoded(numbers, kind), GRAY, "a")
        assert caught.value.line() == message
    with pytest.raises(ImageError) as caught:
        fit_image(numbers, GRAY, "a")
    assert caught.value.line() == message


def test_an_opened_tiff_is_refused_as_its_file_is() -> None:
    content = encoded(Image.fromarray(np.full((6, 8), 300, np.int32)), "TIFF")
    with Image.open(io.BytesIO(content)) as image, pytest.raises(ImageError) as caught:
        fit_image(image, GRAY, "a")
    assert caught.value.line().endswith("Got 32 bits, or a sign.")


def test_cmyk() -> None:
    image = Image.new("CMYK", (8, 6), (0, 255, 255, 0))
    x = load_image(encoded(image, "TIFF"), COLOR)
    assert (x == (255, 0, 0)).all()
    jpeg = encoded(image, "JPEG")
    assert np.abs(load_image(jpeg, COLOR).astype(int) - (255, 0, 0)).max() <= 8


@pytest.mark.parametrize("compression", ["jpeg", "tiff_lzw", "raw"])
def test_ycbcr_jpeg_and_tiff(compression: str) -> None:
    if compression == "raw" and int(PIL.__version__.partition(".")[0]) < 13:
        pytest.skip("Pillow before 13 calls them truncated")
    image = Image.new("RGB", (8, 6), (200, 100, 50))
    tiff = encoded(image.convert("YCbCr"), "TIFF", compression=compression)
    for data in (encoded(image, "JPEG"), tiff):
        assert np.abs(load_image(data, COLOR).astype(int) - (200, 100, 50)).max() <= 3


def test_lab() -> None:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    color = Image.new("RGB", (8, 6), (200, 100, 50))
    image = ImageCms.buildTransform(srgb, lab, "RGB", "LAB").apply(color)
    x = load_image(encoded(image, "TIFF"), COLOR)
    assert np.abs(x.astype(int) - (200, 100, 50)).max() <= 3
    assert load_image(encoded(image, "TIFF"), GRAY).shape == (6, 8, 1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_gives_the_configured_channels(mode: str, channels: int) -> None:
    image = Image.new(mode, (30, 20))
    assert load_image(encoded(image), Preprocess(6, 8, channels)).shape == (6, 8, channels)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "lime", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert (load_image(data, COLOR) == (255, 0, 0)).all()


TURNED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("orientation", [*TURNED, 0, 9])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(("depth", "scale"), [(8, 1), (16, 257), ("float", 1)])
def test_exif_orientation(orientation: int, kind: str, depth: Depth, scale: int) -> None:
    exif = Image.Exif()
    exif[upright.ORIENTATION] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(Image.fromarray(COLORS), kind, exif=exif, **options)
    expected = TURNED.get(orientation, TURNED[1])(COLORS)
    pre = Preprocess(expected.shape[0], expected.shape[1], 3, depth=depth)
    np.testing.assert_array_equal(load_image(data, pre), expected * np.uint16(scale))
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(fit_image(image, pre, "a"), expected * np.uint16(scale))


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_size_as_displayed(tmp_path: Path, orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[upright.ORIENTATION] = orientation
    path = tmp_path / "a"
    path.write_bytes(encoded(Image.fromarray(COLORS), kind, exif=exif))
    height, width, _ = TURNED[orientation](COLORS).shape
    assert upright_size(str(path)) == (width, height)
    with path.open("rb") as file:
        assert facts_of(file, "a").size == (width, height)


@pytest.mark.filterwarnings("ignore")
def test_damaged_metadata_does_not_spoil_an_image() -> None:
    data = encoded(Image.fromarray(COLORS), exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff")
    np.testing.assert_array_equal(load_image(data, COLOR), COLORS)


def test_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "a.png"
    os.mkfifo(pipe)
    data = encoded(Image.fromarray(COLORS))
    thread = threading.Thread(target=pipe.write_bytes, args=(data,))
    thread.start()
    np.testing.assert_array_equal(load_image(pipe, COLOR), COLORS)
    thread.join()
