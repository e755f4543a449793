"""Act on predictions: append them to a file, and sort the images into folders.

The row is written before its image is sorted. If the process is killed in between, the next run
finds the row and sorts the image.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from cnn_cli.data.sources import Entry
from cnn_cli.errors import DataError
from cnn_cli.inference.appending import NO_STAMP, Appended, Stamp, stamp_of
from cnn_cli.inference.predictor import Prediction
from cnn_cli.inference.sorting import Sorter
from cnn_cli.structs import replace


class Acting:
    """Skips images that are finished, and finishes the others; failed ones are never finished.

    Attributes:
        bad: images that could not be put into their folder.

    Args:
        appended: the file for rows.
        sorter: sorts images into folders.
        is_walked: whether images come from folders, which may contain the sorter's folders.
        tell: receives the reason why an image stays where it is.
    """

    def __init__(
        self,
        appended: Appended | None,
        sorter: Sorter | None,
        is_walked: bool,
        tell: Callable[[DataError], object],
    ) -> None:
        self.bad = 0
        self._appended = appended
        self._sorter = sorter
        self._is_walked = is_walked
        self._tell = tell
        self._stamps: deque[Stamp] = deque()  # of images being processed

    def to_do(self, entries: Iterator[Entry | None]) -> Iterator[Entry | None]:
        """Yield the entries that still have to be classified."""
        for entry in entries:
            if entry is not None:
                name, source = entry
                is_path = isinstance(source, str)
                if is_path and self._was_sorted(name):
                    continue
                if self._appended is not None:
                    stamp = stamp_of(name) if is_path else NO_STAMP
                    found = self._appended.find(name, stamp) if is_path else None
                    if found is not None:
                        self._place(found)
                        continue
                    self._stamps.append(stamp)
            yield entry

    def done(self, rows: Sequence[Prediction]) -> list[Prediction]:
        """Act on predictions, in the order of `to_do`; return them with what was done."""
        if self._appended is not None:
            stamps = [self._stamps.popleft() for _ in rows]
            rows = [
                replace(row, size=size, time=time)
                for row, (size, time) in zip(rows, stamps, strict=True)
            ]
            self._appended.append(rows, synchronized=self._sorter is not None)
        if self._sorter is not None:
            rows = [replace(row, file=self._place(row)) for row in rows]
        return list(rows)

    def _was_sorted(self, path: str) -> bool:
        return self._sorter is not None and self._is_walked and self._sorter.holds(path)

    def _place(self, row: Prediction) -> str | None:
        if self._sorter is None:
            return None
        file, problem = self._sorter.place(row.path, row.label, row.error is not None)
        if problem is not None:
            self.bad += 1
            self._tell(problem)
        return file or None
