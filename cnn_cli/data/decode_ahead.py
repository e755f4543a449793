"""Images decoded on several threads, a few ahead of the reader; none is kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import chain

from cnn_cli.data.decode import ImageError, Preprocess, Source, read_image
from cnn_cli.data.depth import Pixels
from cnn_cli.data.pool import Pool

WINDOW = 4  # items a thread that are decoded or waiting


def decode_stream(
    items: Iterable[tuple[str, Source | ImageError]], pre: Preprocess, threads: int
) -> Iterator[tuple[str, Pixels | ImageError]]:
    """Decode images on several threads, in the order they come, a few ahead of the reader.

    Memory stays bounded: at most ``4 * threads`` items are taken before the first is yielded.

    Args:
        items: names and what to read, as `load_image` takes it; an error is handed through.
        pre: size, channels and resize mode.
        threads: that decode.

    Yields:
        The name, and the image as (height, width, channels) or what is wrong with it.
    """
    return (image for image in decode_live(items, pre, threads) if image is not None)


def decode_live(
    items: Iterable[tuple[str, Source | ImageError] | None], pre: Preprocess, threads: int
) -> Iterator[tuple[str, Pixels | ImageError] | None]:
    """The same of items that somebody has yet to name: None says that the next one is waited for.

    Then all that were taken are yielded, and None after them.
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
) -> Iterator[list[tuple[str, Pixels | ImageError]]]:
    """The same batch by batch: exactly one is taken ahead, so that it is known when."""
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
