"""Hashes of file contents. The hashes of a data set are stored, so that the next start reads no
file.

A stored hash is used if path, size, modification time and inode are unchanged. Hashes are stored in
one file per data set in the user's cache folder, which can be deleted at any time; if that folder
is not writable, all files are read each time.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.archive import open_picture
from cnn_cli.data.reading_threads import Pool
from cnn_cli.errors import DataError
from cnn_cli.files import make_folder, remove_stale_temporaries, write_atomic
from cnn_cli.system import cpu_count, user_cache_folder

BLOCK = 2**20
HASH = 8  # bytes
JOB = 256  # files
SLOW = 200e-6  # seconds per file: below this, threads mostly wait for each other
LINKS = 1024  # hard-linked files whose hashes are kept in memory
LEAST_KEPT = 256  # files of a data set: smaller data sets are read quickly anyway
MOST_KEPT = 10_000_000
MOST_BYTES = 512 * 2**20  # of all stored hashes
SETTLED = 2 * 10**9  # nanoseconds: two changes this close may leave the same modification time

_HEADER = b"cnn content hashes 1\n"
_CHECK = 16  # bytes
_NO_HASH = bytes(HASH)
_OPEN = os.O_RDONLY | getattr(os, "O_BINARY", 0)

Hashes = NDArray[np.uint64]


def content_digest(path: str, size: int) -> bytes:
    """Return a hash of a file's content; the file has `size` bytes.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=size)
    with open_picture(path, 0) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.digest()


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """Content hashes of several files.

    Attributes:
        hashes: (files,) 64-bit hashes; files with equal content have equal hashes.
        readable: (files,) whether there is a hash.
    """

    hashes: Hashes
    readable: NDArray[np.bool_]


def content_hashes(paths: Sequence[str], root: str | os.PathLike[str]) -> Contents:
    """Hash the content of files, or look it up from an earlier start.

    Args:
        paths: the files; of hard links to one file, only one is read.
        root: the data set that they belong to, for which the hashes are stored.
    """
    file = _file_of(root) if LEAST_KEPT <= len(paths) <= MOST_KEPT else None
    known = _NONE if file is None else _load(file)
    reading = _Reading(paths)
    if len(known):
        reading.look_up(known)
    missing = np.flatnonzero(~reading.readable)
    reading.read(missing)
    if file is not None and reading.ids[missing].any():
        _store(file, _merged(reading.known(), known))
    return Contents(reading.hashes, reading.readable)


class _Reading:
    """Hashes of files, filled in as they become known.

    Attributes:
        ids: (files,) identity and state of each file as a number; 0 if it changed so recently that
            another change might not be noticed.
        hashes, readable: as in `Contents`.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.ids = np.zeros(len(paths), np.uint64)
        self.hashes = np.zeros(len(paths), np.uint64)
        self.readable = np.zeros(len(paths), np.bool_)
        self._paths = paths
        self._settled = time.time_ns() - SETTLED
        self._folders: dict[str, str] = {}  # folders as given, and their real paths
        self._links: dict[tuple[int, ...], bytes] = {}  # hard-linked files and their hashes

    def look_up(self, known: _Known) -> None:
        """Take over the stored hashes of unchanged files."""
        for start in range(0, len(self._paths), JOB):
            some = self._paths[start : start + JOB]
            self.ids[start : start + JOB] = _numbers([self._look_at(path) for path in some])
        places = np.searchsorted(known.ids, self.ids).clip(max=len(known) - 1)
        self.readable = (known.ids[places] == self.ids) & (self.ids != 0)
        self.hashes[self.readable] = known.hashes[places[self.readable]]

    def read(self, which: NDArray[np.int64]) -> None:
        """Hash files, on several threads if that is slow, as on a network drive."""
        jobs = deque(which[start : start + JOB] for start in range(0, len(which), JOB))

        def work() -> None:
            while jobs:
                try:
                    job = jobs.popleft()
                except IndexError:  # another thread took it
                    return
                self._read_some(job)

        began, done, quick = time.monotonic(), 0, True
        while jobs and quick:
            done += len(jobs[0])
            self._read_some(jobs.popleft())
            quick = time.monotonic() - began <= SLOW * done
        try:
            if jobs:
                with Pool(cpu_count()) as pool:
                    pool.run(work)
        finally:
            jobs.clear()  # if interrupted, the threads end

    def known(self) -> _Known:
        """Return what is worth storing."""
        keep = self.readable & (self.ids != 0)
        ids, first = np.unique(self.ids[keep], return_index=True)
        return _Known(ids, self.hashes[keep][first])

    def _look_at(self, path: str) -> bytes:
        try:
            return self._identity(path, os.stat(path))
        except OSError:
            return _NO_HASH

    def _read_some(self, which: NDArray[np.int64]) -> None:
        found = [self._read_one(self._paths[i]) for i in which]
        self.ids[which] = _numbers([identity for identity, _ in found])
        self.hashes[which] = _numbers([digest or _NO_HASH for _, digest in found])
        self.readable[which] = [digest is not None for _, digest in found]

    def _read_one(self, path: str) -> tuple[bytes, bytes | None]:
        """Return the identity and the hash of a file."""
        try:
            descriptor = os.open(path, _OPEN)
            try:
                status = os.fstat(descriptor)
                identity = self._identity(path, status)
                if status.st_nlink == 1:
                    return identity, _digest(descriptor, status.st_size)
                linked = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
                digest = self._links.get(linked)
                if digest is None:
                    digest = _digest(descriptor, status.st_size)
                    if len(self._links) < LINKS:
                        self._links[linked] = digest
                return identity, digest
            finally:
                os.close(descriptor)
        except OSError:  # too many open files, a member of an archive, or unreadable
            pass
        try:
            return _NO_HASH, content_digest(path, HASH)
        except OSError:
            return _NO_HASH, None

    def _identity(self, path: str, status: os.stat_result) -> bytes:
        if status.st_mtime_ns > self._settled:
            return _NO_HASH
        folder, separator, name = path.rpartition(os.sep)
        place = self._folders.get(folder)
        if place is None:
            place = self._folders[folder] = os.path.realpath(f"{folder}{separator}" or ".")
        text = f"{status.st_size} {status.st_mtime_ns} {status.st_ino} {place}{os.sep}{name}"
        return hashlib.blake2b(os.fsencode(text), digest_size=HASH).digest()


def _digest(descriptor: int, size: int) -> bytes:
    block = os.read(descriptor, min(size, BLOCK) or BLOCK)
    digest, done = hashlib.blake2b(block, digest_size=HASH), len(block)
    while block and done != size:  # saves a system call for each small file
        block = os.read(descriptor, BLOCK)
        digest.update(block)
        done += len(block)
    return digest.digest()


def _numbers(hashes: Sequence[bytes]) -> Hashes:
    return np.frombuffer(b"".join(hashes), ">u8").astype(np.uint64)


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """Stored hashes of an earlier start.

    Attributes:
        ids: (files,) ascending, see `_Reading`.
        hashes: (files,) of the same files.
    """

    ids: Hashes
    hashes: Hashes

    def __len__(self) -> int:
        return len(self.ids)


_NONE = _Known(np.zeros(0, np.uint64), np.zeros(0, np.uint64))


def _merged(now: _Known, before: _Known) -> _Known:
    """Merge the current hashes with the stored ones, unless these are more.

    The stored ones are of files that are gone, or of classes that are left out this time.
    """
    others = ~np.isin(before.ids, now.ids, assume_unique=True)
    if np.count_nonzero(others) > len(now):
        return now
    ids = np.concatenate([now.ids, before.ids[others]])
    order = np.argsort(ids)
    return _Known(ids[order], np.concatenate([now.hashes, before.hashes[others]])[order])


def _file_of(root: str | os.PathLike[str]) -> Path:
    name = hashlib.blake2b(os.fsencode(os.path.realpath(root)), digest_size=8).hexdigest()
    return user_cache_folder() / "hashes" / name


def _load(file: Path) -> _Known:
    """Load stored hashes; none if the file is missing or damaged."""
    try:
        if not file.is_file() or file.stat().st_size > MOST_BYTES:
            return _NONE
        content = file.read_bytes()
        os.utime(file)  # the most recently used data sets are kept longest
    except OSError:
        return _NONE
    body = memoryview(content)[len(_HEADER) : -_CHECK]
    if not content.startswith(_HEADER) or len(body) % 16 or _check(body) != content[-_CHECK:]:
        return _NONE
    ids, hashes = np.frombuffer(body, "<u8").reshape(2, -1).astype(np.uint64)
    return _Known(ids, hashes)


def _store(file: Path, known: _Known) -> None:
    """Store hashes, if the cache folder is writable."""
    body = np.stack([known.ids, known.hashes]).astype("<u8").tobytes()
    with suppress(DataError, OSError):
        make_folder(file.parent)
        remove_stale_temporaries(file.parent)
        write_atomic(file, b"".join([_HEADER, body, _check(body)]), own=True)
        _make_room(file)


def _make_room(file: Path) -> None:
    """Delete stored hashes of other data sets, least recently used first."""
    others = sorted(
        ((each.stat().st_mtime_ns, each) for each in file.parent.iterdir() if each != file),
        reverse=True,
    )
    total = file.stat().st_size
    for _, each in others:
        total += each.stat().st_size
        if total > MOST_BYTES:
            each.unlink()


def _check(body: bytes | memoryview) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECK).digest()
