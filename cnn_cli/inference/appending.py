"""A growing file of predictions: its images are not classified again, whenever the process was
killed.
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
from cnn_cli.errors import DataError, LockedError, reason
from cnn_cli.inference.formats import Format
from cnn_cli.inference.predictor import Prediction
from cnn_cli.portable import NoLocksError, lock, synchronize

SUFFIXES = (".csv", ".jsonl")
MOST_LINE = 2**26  # bytes
REFUSED, FAILED = -1, -2  # in place of a class number

Stamp = tuple[int | None, float | None]
NO_STAMP: Stamp = (None, None)
"""For what is not a file."""


def stamp_of(path: str) -> Stamp:
    """Return a file's size and its modification time in seconds since 1970, to a microsecond."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return NO_STAMP
    return status.st_size, round(status.st_mtime, 6)


class Appended:
    """A `.csv` or `.jsonl` file to which predictions are appended; a context manager.

    A last line cut off by a kill or a full disk is removed first. Each existing line takes 12 bytes
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
        self._file = self._open(dry)
        try:
            self._end, self._keys, self._of = self._read()
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
        """Return the file's prediction for an image of that path, size and time, or None."""
        key = np.uint64(self._key(self._text(path), stamp))
        at = int(np.searchsorted(self._keys, key))
        if at == len(self._keys) or self._keys[at] != key:
            return None
        number = int(self._of[at])
        if number == FAILED:
            return Prediction(path, error="")
        return Prediction(path, None if number == REFUSED else self._labels[number])

    def append(self, rows: Sequence[Prediction], *, synchronized: bool = False) -> None:
        """Append rows: all of them or, if there is no room, none.

        Args:
            synchronized: flush them to disk before returning.
        """
        try:
            self._write("".join(map(self._format.row, rows)))
            if synchronized and self._file is not None:
                synchronize(self._file.fileno())
        except OSError as error:
            raise DataError(self.path, "cannot be written", reason(error)) from error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Appended:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
        if self._file is None:
            return
        rest = memoryview(text.encode("utf-8", "backslashreplace"))
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except BaseException:  # a full disk, or a signal between two writes
            self._file.truncate(self._end)
            self._file.seek(self._end)
            raise
        self._end = self._file.tell()

    def _read(self) -> tuple[int, Any, Any]:
        """Return the end of the last complete line, the images' keys, sorted, and their label
        numbers.
        """
        end, keys, of = 0, [np.empty(0, np.uint64)], [np.empty(0, np.int32)]
        block: list[tuple[int, int]] = []

        def keep() -> None:
            keys.append(np.array([key for key, _ in block], np.uint64))
            of.append(np.array([number for _, number in block], np.int32))
            block.clear()

        for end, found in self._lines():  # noqa: B007 - the last one is what is asked for
            if found is not None:
                block.append(found)
            if len(block) == 2**16:
                keep()
        keep()
        all_keys, all_of = np.concatenate(keys), np.concatenate(of)
        order = np.argsort(all_keys, kind="stable")
        return end, all_keys[order], all_of[order]

    def _lines(self) -> Iterator[tuple[int, tuple[int, int] | None]]:
        """Yield the end of each complete line, and its image's key with the number of its label."""
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
                except (ValueError, KeyError, TypeError) as error:
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

    def _of_csv(self, line: bytes, width: int) -> tuple[int, int]:
        (cells,) = csv.reader([line.decode()], strict=True)
        if len(cells) != width:
            raise ValueError(line)
        path, label, prob, _, size, time = cells[:6]
        stamp = (int(size) if size else None, float(time) if time else None)
        return self._key(path, stamp), self._number(label, failed=not prob)

    def _of_json(self, line: bytes) -> tuple[int, int]:
        found = json.loads(line)
        stamp = (found["size"], found["time"])
        return self._key(found["path"], stamp), self._number(found.get("label"), "error" in found)

    def _number(self, label: str | None, failed: bool) -> int:
        """Return the number of a label: its class, or numbers after those for other labels and
        none.
        """
        if failed:
            return FAILED
        if not label:
            return REFUSED
        if label not in self._numbers:
            self._numbers[label] = len(self._labels)
            self._labels.append(label)
        return self._numbers[label]

    def _text(self, name: str) -> str:
        return safe_csv.cell(name) if self._is_csv else name

    @staticmethod
    def _key(path: str, stamp: Stamp) -> int:
        size, time = stamp
        text = f"{path}\0{size}\0{'' if time is None else f'{time:.6f}'}"
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8)
        return int.from_bytes(digest.digest(), "little")
