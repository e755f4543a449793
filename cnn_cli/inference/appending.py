"""A growing file of predictions: its images are not classified again, whenever the process was
killed.

The last row of a path counts. An image that failed is tried again.
"""

from __future__ import annotations

import csv
import json
import os
import stat
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cnn_cli import safe_csv
from cnn_cli.closing import Closing
from cnn_cli.data.archive import archive_of
from cnn_cli.errors import DataError, LockedError, reason
from cnn_cli.inference.prediction_formats import Format
from cnn_cli.inference.predictor import Prediction
from cnn_cli.portable import NoLocksError, lock, synchronize

MOST_LINE = 2**26  # bytes
REFUSED = -1  # in place of a class number

Stamp = tuple[int | None, float | None]
NO_STAMP: Stamp = (None, None)
"""For what is not a file."""

Known = tuple[int, int, int]
ROW = np.dtype([("key", np.uint64), ("state", np.uint64), ("number", np.int32)])
"""What a row says: hash of its path, hash of its stamp and error, and number of its label."""


def stamp_of(path: str) -> Stamp:
    """Return a file's size and its modification time in seconds since 1970, to a microsecond.

    An image in an archive has those of the archive: a new archive is new images.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        place = archive_of(path)
        return NO_STAMP if place is None else stamp_of(place[0])
    return status.st_size, round(status.st_mtime, 6)


class Appended(Closing):
    """A `.csv` or `.jsonl` file to which predictions are appended; a context manager.

    A last line cut off by a kill or a full disk is removed first. Each existing line takes 20 bytes
    of memory.

    Args:
        path: the file, created if missing.
        format_: formats its lines, with stamps.
        classes: the classes of the labels.
        dry: whether to leave the file unchanged.

    Raises:
        DataError: it is not such a file, or cannot be read or written.
        LockedError: another process appends to it.
    """

    def __init__(self, path: Path, format_: Format, classes: Sequence[str], dry: bool) -> None:
        self.path = path
        self._format = format_
        self._is_csv = path.suffix.lower() == ".csv"
        self._labels: list[str] = [*classes]
        self._numbers = {self._text(name): number for number, name in enumerate(classes)}
        self._dry = dry
        self._file = self._open(dry)
        try:
            self._end, self._keys, self._states, self._of = self._read()
            if self._file is not None and not dry:
                self._file.truncate(self._end)
                self._file.seek(self._end)
                if self._end == 0:
                    self._write(format_.start())
        except OSError as error:
            self.close()
            raise DataError(path, "cannot be written", reason(error)) from error
        except BaseException:
            self.close()
            raise

    def find(self, path: str, stamp: Stamp) -> Prediction | None:
        """Return the file's prediction for an image of that path, size and time.

        None if the last row of the path is of another size or time, or has an error.
        """
        if stamp == NO_STAMP:
            return None
        at = self._at(path)
        if at is None or int(self._states[at]) != _state(stamp, None):
            return None
        number = int(self._of[at])
        return Prediction(path, None if number == REFUSED else self._labels[number])

    def append(self, rows: Sequence[Prediction], *, synchronized: bool = False) -> None:
        """Append rows: all of them or, if there is no room, none.

        An error that the file already has as the last row of the path is not repeated.

        Args:
            synchronized: flush them to disk before returning.

        Raises:
            DataError: there is no room, or another program changed the file.
        """
        rows = [row for row in rows if self._is_news(row)]
        try:
            self._write("".join(map(self._format.row, rows)))
            if synchronized and self._file is not None:
                synchronize(self._file.fileno())
        except OSError as error:
            raise DataError(self.path, "cannot be written", reason(error)) from error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _open(self, dry: bool) -> BinaryIO | None:
        try:
            if dry:
                return open(self.path, "rb") if self.path.exists() else None
            file = open(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", 0)  # noqa: SIM115 - it stays open
        except OSError as error:
            raise DataError(self.path, "cannot be written", reason(error)) from error
        try:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise DataError(self.path, "must be a file, to be read and appended to")
            if not lock(file.fileno()):
                raise LockedError(self.path, "another process is appending to this file")
        except (NoLocksError, OSError):
            pass
        except BaseException:
            file.close()
            raise
        return file

    def _write(self, text: str) -> None:
        if self._file is None or self._dry:
            return
        self._check_unchanged(self._file.fileno())
        rest = memoryview(text.encode("utf-8", "backslashreplace"))
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except BaseException:  # a full disk, or a signal between two writes
            self._file.truncate(self._end)
            self._file.seek(self._end)
            raise
        self._end = self._file.tell()

    def _check_unchanged(self, descriptor: int) -> None:
        """Check that rows would be in the file of that path, after the last one.

        A file that was deleted or renamed, as editors do when they save, would take them to where
        nobody reads them; after one that was truncated, they would follow a gap of NUL bytes.
        """
        here = os.fstat(descriptor)
        try:
            is_there = os.path.samestat(here, os.stat(self.path))
        except FileNotFoundError:
            is_there = False
        if not is_there or here.st_size != self._end:
            rule = "must not be moved, deleted or changed while rows are appended to it"
            raise DataError(self.path, rule)

    def _at(self, path: str) -> int | None:
        """Return the position of a path in the arrays."""
        key = np.uint64(_hash(self._text(path)))
        at = int(np.searchsorted(self._keys, key))
        return at if at < len(self._keys) and self._keys[at] == key else None

    def _is_news(self, row: Prediction) -> bool:
        """Note a row as the last one of its path; whether it says more than an error already known.

        Paths that are new in this call are not noted: nothing asks for them.
        """
        at = self._at(row.path)
        if at is None:
            return True
        state = _state((row.size, row.time), None if row.error is None else self._text(row.error))
        was = int(self._states[at])
        self._states[at] = state
        self._of[at] = self._number(None if row.label is None else self._text(row.label))
        return row.error is None or was != state

    def _read(self) -> tuple[int, Any, Any, Any]:
        """Return the end of the last complete line and, for the last row of each path, the hashes
        of the paths, sorted, those of stamp and error, and the label numbers.
        """
        end, blocks = 0, [np.empty(0, ROW)]
        block: list[Known] = []
        for end, found in self._lines():  # noqa: B007 - the last one is what is asked for
            if found is not None:
                block.append(found)
            if len(block) == 2**16:
                blocks.append(np.array(block, ROW))
                block.clear()
        rows = np.concatenate([*blocks, np.array(block, ROW)])[::-1]
        keys, last = np.unique(rows["key"], return_index=True)
        return end, keys, rows["state"][last], rows["number"][last]

    def _lines(self) -> Iterator[tuple[int, Known | None]]:
        """Yield the end of each complete line, and what it says."""
        if self._file is None:
            return
        header = self._format.start().encode("utf-8", "backslashreplace")
        width = len(next(csv.reader([header.decode()]), []))
        with open(os.dup(self._file.fileno()), "rb") as file:
            file.seek(0)
            if header:
                first = file.read(len(header))
                if first != header and header.startswith(first):  # empty, or cut off
                    return
                if first != header:
                    there = first.partition(b"\n")[0].decode("utf-8", "replace")
                    rule = f"must begin with {header.decode().rstrip()}, as with the same options"
                    raise DataError(self.path, rule, there)
                yield len(header), None
            end = len(header)
            for number, line in enumerate(self._records(file), start=2 if header else 1):
                end += len(line)
                try:
                    found = self._of_csv(line, width) if self._is_csv else self._of_json(line)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    rule = "must be a line that cnn predict --append wrote"
                    raise DataError(f"{self.path}:{number}", rule) from error
                yield end, found

    def _records(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield complete records; CSV records may contain line ends within quotes."""
        record, quotes = b"", 0
        while line := file.readline(MOST_LINE):
            record += line
            quotes += line.count(b'"') if self._is_csv else 0
            if line.endswith(b"\n") and quotes % 2 == 0:
                yield record
                record, quotes = b"", 0

    def _of_csv(self, line: bytes, width: int) -> Known:
        (cells,) = csv.reader([line.decode()], strict=True)
        if len(cells) != width:
            raise ValueError(line)
        path, label, _, error, size, time = cells[:6]
        stamp = (int(size) if size else None, float(time) if time else None)
        return _hash(path), _state(stamp, error or None), self._number(label)

    def _of_json(self, line: bytes) -> Known:
        found = json.loads(line)
        state = _state((found["size"], found["time"]), found.get("error"))
        return _hash(found["path"]), state, self._number(found.get("label"))

    def _number(self, label: str | None) -> int:
        """Return the number of a label: its class, or numbers after those for other labels and
        none.
        """
        if not label:
            return REFUSED
        if label not in self._numbers:
            self._numbers[label] = len(self._labels)
            self._labels.append(label)
        return self._numbers[label]

    def _text(self, name: str) -> str:
        return safe_csv.cell(name) if self._is_csv else name


def _state(stamp: Stamp, error: str | None) -> int:
    size, time = stamp
    text = f"{size}\0{'' if time is None else f'{time:.6f}'}"
    return _hash(text if error is None else f"{text}\0{error}")


def _hash(text: str) -> int:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "little")
