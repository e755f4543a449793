"""Watch a folder: yield its existing images and new ones, each once it is complete.

An image is complete when its writer closes it or renames it into place. Both change the file's
`ctime`, which tells images already yielded from others without remembering all of them. On systems
without inotify, and on network drives, which do not report what other computers write, an image is
complete when size and time are unchanged between two polls.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

from cnn_cli.data.folder import is_image_name, walk_images
from cnn_cli.data.sources import Entry, reported
from cnn_cli.errors import DataError, reason
from cnn_cli.portable import Inotify
from cnn_cli.system import PATIENCE, on_network, wait_until_ready

LOOK = 1.0  # seconds between two polls of a file that may be incomplete
SLACK = 2.0  # seconds by which a file system's clock may be off or coarse
ALWAYS = float("-inf")
LIMIT = "more folders than fs.inotify.max_user_watches allows"


def watch_images(folder: str) -> Iterator[Entry | None]:
    """Yield the images in a folder and its subfolders, existing ones first, endlessly.

    None means that everything was yielded and the next image is not there yet. An image that is
    rewritten or renamed is yielded again. Names are skipped as in `walk_images`.

    Raises:
        DataError: it is not a folder, or no longer one.
    """
    if not os.path.isdir(folder):
        got = "a file" if os.path.lexists(folder) else "no such folder"
        raise DataError(folder, "must be a folder", got)
    if on_network(Path(folder)):
        yield from _polled(folder)
        return
    try:
        inotify = Inotify()
    except OSError:
        yield from _polled(folder)
        return
    try:
        inotify.add(folder)
    except OSError:
        inotify.close()
        yield from _polled(folder)
        return
    try:
        yield from _Watched(folder, inotify).entries()
    finally:
        inotify.close()


class _Watched:
    """A folder watched with inotify."""

    def __init__(self, folder: str, inotify: Inotify) -> None:
        self.folder = folder
        self.inotify = inotify
        self.identity = _identity(folder)
        self.watches: dict[int, str] = {}
        # Files that may still be written, their state, and when it was seen.
        self.pending: dict[str, tuple[int, float]] = {}
        # Everything changed before `since` was yielded. What was yielded of the rest is remembered
        # in two generations; the younger began at `mark`.
        self.since = self.mark = time.time() - SLACK
        self.given: set[int] = set()
        self.given_before: set[int] = set()

    def entries(self) -> Iterator[Entry | None]:
        yield from self._scan(self.folder, ALWAYS)
        while True:
            events = self.inotify.events()
            if not events:
                yield None
                self._age()
                wait_until_ready(self.inotify.descriptor, "read", PATIENCE)
                # No event reports that a drive was removed or mounted, or a link to the folder
                # or a folder above it replaced.
                if _identity(self.folder) != self.identity:
                    raise _gone(self.folder)
            for watch, bits, name in events:
                yield from self._happened(watch, bits, name)
            before = time.monotonic() - LOOK
            for path in [path for path, (_, seen) in self.pending.items() if seen < before]:
                yield from self._consider(path, ALWAYS)

    def _happened(self, watch: int, bits: int, name: str) -> Iterator[Entry]:
        if bits & Inotify.OVERFLOW:
            yield from self._scan_again()
            return
        folder = self.watches.get(watch)
        if folder is None:
            return
        if bits & Inotify.ENDS:
            if folder == self.folder:
                raise _gone(folder)
            if not bits & Inotify.MOVE_SELF:  # reported by the folder that contains it
                del self.watches[watch]
        elif not name.startswith("."):
            yield from self._happened_to(os.path.join(folder, name), bits)

    def _happened_to(self, path: str, bits: int) -> Iterator[Entry]:
        came = bits & (Inotify.CREATE | Inotify.MOVED_TO)
        if bits & Inotify.FOLDER or (came and os.path.isdir(path)):  # a link to a folder has no bit
            if bits & Inotify.MOVED_FROM:
                self._forget(path)
            elif came:
                yield from self._scan(path, ALWAYS)
        elif is_image_name(path):
            if bits & Inotify.MOVED_TO:
                yield from self._consider(path, ALWAYS, complete=True)
            elif bits & Inotify.CLOSE_WRITE:  # it may have been opened without writing
                yield from self._consider(path, self.since, complete=True)
            elif bits & Inotify.CREATE and _is_link(path):  # a link is never closed
                yield from self._consider(path, ALWAYS)

    def _scan(self, folder: str, since: float, known: Iterable[int] = ()) -> Iterator[Entry]:
        """Yield the images of a folder; each subfolder is watched before it is read.

        Args:
            since: skip files not changed since then, except in new folders.
            known: the watches of folders that are not new.
        """
        new: set[str] = set()

        def watch(path: str) -> bool:
            try:
                number = self.inotify.add(path)
                if _is_same(self.watches.get(number), path):  # reached through a link
                    return False
                if path == folder and path in self.watches.values():  # a link that was replaced
                    self._forget(path)
                    number = self.inotify.add(path)
            except (FileNotFoundError, NotADirectoryError):
                return False
            except PermissionError:
                return True  # it is reported as unreadable
            except OSError as error:
                got = LIMIT if error.errno == errno.ENOSPC else reason(error)
                raise DataError(path, "cannot be watched", got) from error
            self.watches[number] = path
            if number not in known:
                new.add(path)
            return True

        problems: list[DataError] = []
        for path in walk_images(folder, problems.append, on_folder=watch):
            yield from reported(problems)
            yield from self._consider(path, ALWAYS if os.path.dirname(path) in new else since)
        yield from reported(problems)

    def _scan_again(self) -> Iterator[Entry]:
        """Yield what arrived while events were lost."""
        known, self.watches = self.watches, {}
        yield from self._scan(self.folder, self.since, known)

    def _consider(self, path: str, since: float, complete: bool = False) -> Iterator[Entry]:
        """Yield an image if it is complete and was not yielded before.

        Args:
            since: it was yielded before if it has not changed since then.
            complete: whether it is known to be complete.
        """
        seen, when = self.pending.pop(path, (None, 0.0))
        try:
            status = os.stat(path)
        except OSError:
            if os.path.islink(path):
                yield path, path  # reading it reports the error
            return  # moved away
        changed = max(status.st_ctime, status.st_mtime)
        if not stat.S_ISREG(status.st_mode) or changed < since:
            return
        state, now = _state(path, status), time.monotonic()
        if state in self.given or state in self.given_before:
            return
        if not complete and _is_new(status) and (seen != state or now - when < LOOK):
            self.pending[path] = state, when if seen == state else now
            return
        if changed >= self.since:
            self.given.add(state)
        yield path, path

    def _age(self) -> None:
        """Forget what was yielded long ago; called when everything yielded is processed."""
        now = time.time()
        if now - self.mark > SLACK and not self.pending:
            self.since, self.mark = self.mark, now
            self.given_before, self.given = self.given, set()

    def _forget(self, folder: str) -> None:
        """Stop watching a folder that was moved away or replaced, and its subfolders."""
        below = folder + os.sep
        for watch, path in tuple(self.watches.items()):
            if path == folder or path.startswith(below):
                del self.watches[watch]
                self.inotify.remove(watch)


def _polled(folder: str) -> Iterator[Entry | None]:
    """Yield the images as `watch_images` does, by polling; a number is kept for each file."""
    given: set[int] = set()
    pending: set[int] = set()
    told: set[str] = set()
    for look in count():
        seen: set[int] = set()
        waiting: set[int] = set()
        problems: list[DataError] = []
        for path in walk_images(folder, problems.append):
            try:
                status = os.stat(path)
            except OSError:
                state, old = hash(path), True  # reading it reports the error
            else:
                state = _state(path, status)
                old = look == 0 and not _is_new(status)
            if state in given or old or state in pending:
                seen.add(state)
                if state not in given:
                    yield path, path
            else:
                waiting.add(state)
        yield from reported([each for each in problems if each.place not in told])
        told = {each.place for each in problems}
        given, pending = seen, waiting
        yield None
        until = time.monotonic() + LOOK
        while time.monotonic() < until:
            time.sleep(PATIENCE)
        if not os.path.isdir(folder):
            raise _gone(folder)


def _state(path: str, status: os.stat_result) -> int:
    """Return a number for the current state of a file."""
    return hash((path, status.st_ino, status.st_size, status.st_mtime_ns))


def _is_new(status: os.stat_result) -> bool:
    """Whether a file changed so recently that it may change again."""
    return abs(time.time() - status.st_ctime) < LOOK + SLACK


def _is_link(path: str) -> bool:
    """Whether a file that just appeared is a link to an existing one."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISLNK(status.st_mode) or status.st_nlink > 1


def _identity(folder: str) -> tuple[int, int] | None:
    """Return what tells a folder from another one of the same name; None if it is gone."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_same(path: str | None, other: str) -> bool:
    """Whether two paths lead to one folder."""
    return path is not None and _identity(path) == _identity(other)


def _gone(folder: str) -> DataError:
    return DataError(folder, "must not be moved, replaced or deleted while it is watched")
