"""Decode images on several threads, slightly ahead of the reader; none is kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import chain

from cnn_cli.data.decode import Source, read_image
from cnn_cli.data.depth import Pixels
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.reading_threads import Pool

WINDOW = 4  # pending items per thread

Decoded = tuple[str, Pixels | ImageError]
"""The name of an image, and its pixels (height, width, channels) or why it cannot be read."""


def decode_stream(
    items: Iterable[tuple[str, Source | ImageError]], pre: Preprocess, threads: int
) -> Iterator[Decoded]:
    """Decode images on several threads, in order, slightly ahead of the reader.

    Memory is bounded: at most ``4 * threads`` items are taken before the first is yielded.

    Args:
        items: names and sources, as `load_image` takes them; errors are passed through.
        pre: size, channels and resize mode.
        threads: number of decoding threads.

    Yields:
        The name, and the image as (height, width, channels) or an error.
    """
    return (image for image in decode_live(items, pre, threads) if image is not None)


def decode_live(
    items: Iterable[tuple[str, Source | ImageError] | None], pre: Preprocess, threads: int
) -> Iterator[Decoded | None]:
    """Like `decode_stream`, for items that arrive over time: None means that the next one is not
    there yet.

    All items taken are then yielded, followed by None.
    """
    waiting: deque[tuple[str, Future[Pixels | ImageError]]] = deque()
    with Pool(threads) as pool:
        for item in chain(items, [None]):
            if item is not None:
                name, source = item
                waiting.append((name, pool.submit(_decoded, source, pre, name)))
            while len(waiting) == WINDOW * threads or (waiting and item is None):
                first, image = waiting.popleft()
                yield first, image.result()
            if item is None:
                yield None


def decode_batches(
    batches: Iterable[Sequence[tuple[str, Source | ImageError]]], pre: Preprocess, threads: int
) -> Iterator[list[Decoded]]:
    """Like `decode_stream`, batch by batch; exactly one batch is taken ahead."""
    waiting: deque[list[tuple[str, Future[Pixels | ImageError]]]] = deque()
    with Pool(threads) as pool:
        for batch in chain(batches, [()]):
            waiting.append(
                [(name, pool.submit(_decoded, source, pre, name)) for name, source in batch]
            )
            if len(waiting) > 1:
                yield [(name, image.result()) for name, image in waiting.popleft()]


def _decoded(source: Source | ImageError, pre: Preprocess, name: str) -> Pixels | ImageError:
    return source if isinstance(source, ImageError) else read_image(source, pre, name)
