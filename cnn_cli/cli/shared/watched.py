"""A loader whose batches a bar on stderr follows."""

from __future__ import annotations

from collections.abc import Iterator

from cnn_cli.cli.shared.progress import bar, on_terminal
from cnn_cli.data.loader import Batch, Indices, Loader


class WatchedLoader(Loader):
    """The bar shows only where stderr is a terminal."""

    def batches(self, order: Indices, skip: int = 0, epoch: int = 0) -> Iterator[Batch]:
        if not on_terminal():
            yield from super().batches(order, skip, epoch)
            return
        with bar(len(order), "evaluating", "image") as progress:
            for batch in super().batches(order, skip, epoch):
                yield batch
                progress.update(len(batch))
