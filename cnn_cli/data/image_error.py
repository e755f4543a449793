"""The errors of images that cannot be used."""

from __future__ import annotations

from PIL import Image

from cnn_cli.errors import DataError


class ImageError(DataError):
    """An image that cannot be used; `place` is its path."""

    @property
    def message(self) -> str:
        """The problem, without the path."""
        return self.rule if self.got is None else f"{self.rule}: {self.got}"


class NoReaderError(ImageError):
    """The package that reads this image format is not installed."""


def check_pixels(width: int, height: int, place: str) -> None:
    """Refuse an image that is too large, before decoding it.

    Raises:
        ImageError: it has more pixels than Pillow's limit.
    """
    pixels = width * height
    if Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS:
        raise too_large(place, pixels)


def too_large(place: str, pixels: int | None) -> ImageError:
    """Return the error of an image with more pixels than Pillow's limit.

    Args:
        pixels: their number, if it is known.
    """
    limit = f"has more pixels than Pillow's limit of {Image.MAX_IMAGE_PIXELS}"
    return ImageError(place, limit, None if pixels is None else f"{pixels} pixels")
