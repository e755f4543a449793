"""What is done with pictures once they are named: told to a file, and put into folders.

First a row is written, then its picture is put into its folder. A picture whose row is there and
which is not in its folder, since the process was killed between the two, is put there by the next.
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
    """Passes over what was done, and does the rest.

    Attributes:
        bad: pictures that could not be put where they belong.

    Args:
        appended: where rows are written to.
        sorter: puts pictures into folders.
        is_walked: whether pictures are found in folders, which those of the sorter may be among.
        tell: told why a picture stays where it is.
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
        self._stamps: deque[Stamp] = deque()  # of pictures on their way

    def to_do(self, entries: Iterator[Entry | None]) -> Iterator[Entry | None]:
        """What of the entries is to be named."""
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
        """Act on what was named, in the order of `to_do`; the same, with what was done."""
        if self._appended is not None:
            stamps = [self._stamps.popleft() for _ in rows]
            rows = [
                replace(row, size=size, time=time)
                for row, (size, time) in zip(rows, stamps, strict=True)
            ]
            self._appended.append(rows, synchronised=self._sorter is not None)
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
