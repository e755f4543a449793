"""The pictures of a folder, those that are there and those that come, each once it is complete.

A picture is complete when its writer closes it, or renames it into place; both change the file's
`ctime`, by which pictures that have been given are told from others without remembering all.
Where the system does not tell (no inotify), it is when size and time stay the same over two looks.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator
from itertools import count

from cnn_cli.data.folder import is_image_name, walk_images
from cnn_cli.data.sources import Entry, reported
from cnn_cli.errors import DataError, reason
from cnn_cli.portable import Inotify
from cnn_cli.system import wait_until_ready

PATIENCE = 0.1  # seconds, after which signals are looked at
LOOK = 1.0  # seconds between two looks at a file that may not be complete
SLACK = 2.0  # seconds that a file system's clock may differ, or be coarse
ALWAYS = float("-inf")


def watch_images(folder: str) -> Iterator[Entry | None]:
    """The pictures in a folder and its sub-folders, those that are there first, without an end.

    None says that everything was given, and what comes next is waited for. A picture that is
    written anew or renamed is given anew. Names are passed over as in `walk_images`.

    Raises:
        DataError: it is no folder, or is one no longer.
    """
    if not os.path.isdir(folder):
        got = "a file" if os.path.lexists(folder) else "no such folder"
        raise DataError(folder, "must be a folder", got)
    try:
        inotify = Inotify()
    except OSError:
        yield from _looked_at(folder)
        return
    try:
        inotify.add(folder)
    except OSError:
        inotify.close()
        yield from _looked_at(folder)
        return
    try:
        yield from _Told(folder, inotify).entries()
    finally:
        inotify.close()


class _Told:
    """A folder of which the system tells what happens in it."""

    def __init__(self, folder: str, inotify: Inotify) -> None:
        self.folder = folder
        self.inotify = inotify
        self.watches: dict[int, str] = {}
        # Files that may still be written, their state, and since when it is known.
        self.pending: dict[str, tuple[int, float]] = {}
        # All that changed before `since` was given. What was given of the rest is remembered, in
        # two generations, the younger of which began at `mark`.
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
                if not os.path.isdir(self.folder):  # also where no event says so: a drive is gone
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
            if not bits & Inotify.MOVE_SELF:  # of which the folder it is in tells
                del self.watches[watch]
        elif not name.startswith("."):
            yield from self._happened_to(os.path.join(folder, name), bits)

    def _happened_to(self, path: str, bits: int) -> Iterator[Entry]:
        if bits & Inotify.FOLDER or (bits & Inotify.CREATE and os.path.isdir(path)):
            if bits & Inotify.MOVED_FROM:
                self._forget(path)
            elif bits & (Inotify.CREATE | Inotify.MOVED_TO):
                yield from self._scan(path, ALWAYS)
        elif is_image_name(path):
            if bits & Inotify.MOVED_TO:
                yield from self._consider(path, ALWAYS, complete=True)
            elif bits & Inotify.CLOSE_WRITE:  # perhaps of one that was opened only
                yield from self._consider(path, self.since, complete=True)
            elif bits & Inotify.CREATE and _is_link(path):  # which nobody closes
                yield from self._consider(path, ALWAYS)

    def _scan(self, folder: str, since: float, known: Iterable[int] = ()) -> Iterator[Entry]:
        """The pictures of a folder, each sub-folder of which is watched before it is read.

        Args:
            since: only those that changed since then, but for folders that are new.
            known: the watches of folders that are not new.
        """
        new: set[str] = set()

        def watch(path: str) -> bool:
            try:
                number = self.inotify.add(path)
            except (FileNotFoundError, NotADirectoryError):
                return False
            except PermissionError:
                return True  # it is reported as one that cannot be read
            except OSError as error:
                raise DataError(path, "cannot be watched", reason(error)) from error
            if number in self.watches:  # through a link
                return False
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
        """What came while events were lost."""
        known, self.watches = self.watches, {}
        yield from self._scan(self.folder, self.since, known)

    def _consider(self, path: str, since: float, complete: bool = False) -> Iterator[Entry]:
        """Give a picture, if it is complete and was not given.

        Args:
            since: it was given if it has not changed since then.
            complete: whether it is known to be.
        """
        seen, when = self.pending.pop(path, (None, 0.0))
        try:
            status = os.stat(path)
        except OSError:
            if os.path.islink(path):
                yield path, path  # where it is read, it is reported
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
        """Forget what was given long ago; called when all that was given is done with."""
        now = time.time()
        if now - self.mark > SLACK and not self.pending:
            self.since, self.mark = self.mark, now
            self.given_before, self.given = self.given, set()

    def _forget(self, folder: str) -> None:
        """Watch a folder that is elsewhere now no longer, nor those in it."""
        below = folder + os.sep
        for watch, path in tuple(self.watches.items()):
            if path == folder or path.startswith(below):
                del self.watches[watch]
                self.inotify.remove(watch)


def _looked_at(folder: str) -> Iterator[Entry | None]:
    """The same by looking again and again; of all files that are there a number is remembered."""
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
                state, old = hash(path), True  # where it is read, it is reported
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
    """A number for a file as it is now."""
    return hash((path, status.st_ino, status.st_size, status.st_mtime_ns))


def _is_new(status: os.stat_result) -> bool:
    """Whether a file was changed so lately that somebody may be about to change it again."""
    return abs(time.time() - status.st_ctime) < LOOK + SLACK


def _is_link(path: str) -> bool:
    """Whether a file that was just made is one that was there already: by a link of any kind."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISLNK(status.st_mode) or status.st_nlink > 1


def _gone(folder: str) -> DataError:
    return DataError(folder, "must not be moved or deleted while it is watched")
