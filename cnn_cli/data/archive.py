"""Pictures in zip and tar archives, read from where they lie.

The path of a picture goes on behind that of its archive: ``photos.zip/cats/1.jpg``. An archive is
indexed once per process; what is in it is then read by its offset, from any thread, and nothing
stays open. Only a ``.tar.gz``, in which nothing can be found by its offset, is unpacked, once and
into a file without a name.

What could harm is refused: names that lead out of the archive, links, names that stand there twice,
encryption, and what is larger than it says.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import struct
import threading
import weakref
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from cnn_cli.data.listing import is_hidden
from cnn_cli.errors import DataError, reason, size_text
from cnn_cli.files import NoDescriptorError, open_to_read

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MOST_BYTES = 2**30  # of one picture
MOST_MEMBERS = 10_000_000
BLOCK = 2**20
TAR_BLOCK = 512

_WITHIN = re.compile(rf"(?:{'|'.join(map(re.escape, SUFFIXES))})[/{re.escape(os.sep)}]", re.I)
_DRIVE = re.compile(r"[A-Za-z]:")
_ZIP_HEADER = struct.Struct("<4s22xHH")  # of a member: lengths of its name and of what follows that
STORED, DEFLATED = 0, 8  # as zip archives number ways of compressing


class Member(NamedTuple):
    """A file of an archive.

    Attributes:
        offset: of its data, or in a zip archive of its header.
        packed: bytes that its data take in the archive.
        size: bytes that it has.
        method: how a zip archive has compressed it, as in `zipfile`; None in tar archives.
        crc: of its bytes, in a zip archive.
        problem: why it cannot be read; None where it can.
    """

    offset: int
    packed: int
    size: int
    method: int | None = None
    crc: int = 0
    problem: str | None = None


class Archive:
    """The index of one archive.

    Args:
        path: of the file.
        stamp: its size and time.

    Attributes:
        members: the visible files in it, by name.

    Raises:
        DataError: it cannot be read, or holds what it must not.
    """

    def __init__(self, path: str, stamp: tuple[int, int]) -> None:
        self.path = path
        self.stamp = stamp
        self.members: dict[str, Member] = {}
        self._unpacked: BinaryIO | None = None
        self._lock = threading.Lock()
        with _opened(path) as file:
            if path.lower().endswith(".zip"):
                found = _zip_members(path, file)
            elif path.lower().endswith(".tar"):
                found = _tar_members(path, file)
            else:
                self._unpacked = _unpack(path, file)
                weakref.finalize(self, self._unpacked.close)
                found = _tar_members(path, self._unpacked)
            for name, member in found:
                self._add(name, member)

    def _add(self, name: str, member: Member) -> None:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or _DRIVE.match(name):
            raise DataError(self.path, "must hold no names that lead out of it", f"'{name}'")
        if any(map(is_hidden, parts)):
            return
        plain = "/".join(parts)
        if plain in self.members:
            raise DataError(self.path, "must hold each name once", f"'{plain}' twice")
        if len(self.members) >= MOST_MEMBERS:
            raise DataError(self.path, f"must hold at most {MOST_MEMBERS:,} files")
        self.members[plain] = member

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """What members are read from, to read several one after the other."""
        if self._unpacked is None:
            with open_to_read(self.path, 0) as file:
                yield file
        else:
            with self._lock:
                yield self._unpacked

    def read(self, name: str, file: BinaryIO) -> bytes:
        """The bytes of a member.

        Args:
            name: of the member.
            file: of `opened`.

        Raises:
            OSError: there is none of that name, or it is damaged, too large or encrypted.
        """
        member = self.members.get(name)
        if member is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        if member.problem is not None:
            raise OSError(errno.EIO, member.problem, name)
        if max(member.size, member.packed) > MOST_BYTES:
            raise OSError(errno.EIO, f"must have at most {MOST_BYTES:,} bytes", name)
        if member.method is None:
            file.seek(member.offset)
            data = _read(file, member.size)
            if len(data) < member.size:
                raise OSError(errno.EIO, "its archive is truncated", name)
            return data
        return _read_zipped(member, file, name)


def _read_zipped(member: Member, file: BinaryIO, name: str) -> bytes:
    damaged = OSError(errno.EIO, "is damaged in its archive", name)
    file.seek(member.offset)
    header = _read(file, _ZIP_HEADER.size)
    if len(header) < _ZIP_HEADER.size or not header.startswith(b"PK\x03\x04"):
        raise damaged
    _, name_length, extra_length = _ZIP_HEADER.unpack(header)
    file.seek(member.offset + _ZIP_HEADER.size + name_length + extra_length)
    data = _read(file, member.packed)
    if member.method == DEFLATED:
        try:
            unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
            data = unpacking.decompress(data, member.size + 1)
        except zlib.error:
            raise damaged from None
    if len(data) > member.size:
        raise OSError(errno.EIO, "has more bytes than its archive declares", name)
    if len(data) < member.size or zlib.crc32(data) != member.crc:
        raise damaged
    return data


def _read(file: BinaryIO, size: int) -> bytes:
    """So many bytes of a file without a buffer, fewer at its end."""
    data = file.read(size)
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data


def _zip_members(path: str, file: BinaryIO) -> Iterator[tuple[str, Member]]:
    import zipfile

    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError, EOFError, OSError):
        raise DataError(path, "must be a zip archive", "none, or a damaged one") from None
    end = file.seek(0, os.SEEK_END)
    for info in infos:
        name = info.filename
        if "/" not in name:  # as some programs of Windows write it
            name = name.replace("\\", "/")
        if name.endswith("/"):
            continue
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DataError(path, "must hold no links", f"'{name}'")
        problem = None
        if info.flag_bits & 1:
            problem = "is encrypted"
        elif info.compress_type not in (STORED, DEFLATED):
            problem = f"is compressed by method {info.compress_type}; deflate (8) is what is read"
        elif info.header_offset + info.compress_size > end:
            problem = "its archive is truncated"
        yield (
            name,
            Member(
                info.header_offset,
                info.compress_size,
                info.file_size,
                info.compress_type,
                info.CRC,
                problem,
            ),
        )


def _tar_members(path: str, file: BinaryIO) -> Iterator[tuple[str, Member]]:
    import tarfile

    try:
        yield from _read_tar(path, file)
    except (tarfile.TarError, ValueError, EOFError, OverflowError) as error:
        got = "one that is truncated" if "unexpected end" in str(error) else "none"
        raise DataError(path, "must be a tar archive", f"{got}, or a damaged one") from None


def _read_tar(path: str, file: BinaryIO) -> Iterator[tuple[str, Member]]:
    import tarfile

    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:") as archive:
        while (info := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # a kilobyte of memory each
            if info.issym() or info.islnk():
                raise DataError(path, "must hold no links", f"'{info.name}' -> '{info.linkname}'")
            if info.isdir():
                continue
            if not info.isreg():
                raise DataError(path, "must hold files and folders only", f"'{info.name}'")
            problem = "is a sparse file" if info.issparse() else None
            yield info.name, Member(info.offset_data, info.size, info.size, problem=problem)
        end = archive.offset  # where the next header would be
    file.seek(end)
    if _read(file, TAR_BLOCK) != bytes(TAR_BLOCK):
        raise tarfile.ReadError("unexpected end of data")


def _unpack(path: str, file: BinaryIO) -> BinaryIO:
    """The tar archive in a gzip file, as a file that has no name and is gone with the process."""
    import gzip
    import shutil
    import tempfile

    folder = tempfile.gettempdir()
    room = shutil.disk_usage(folder).free * 9 // 10
    unpacked = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - it lives as long as the index
    done = 0
    try:
        with gzip.GzipFile(fileobj=file) as stream:
            while block := stream.read(BLOCK):
                done += len(block)
                if done > room:
                    rule = f"must unpack to less than there is room for in {folder}"
                    raise DataError(path, rule, f"more than {size_text(room)}")
                unpacked.write(block)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        unpacked.close()
        raise DataError(path, "must be a tar.gz archive", "none, or a damaged one") from None
    except BaseException:
        unpacked.close()
        raise
    return unpacked


_known: dict[str, Archive] = {}
_indexing = threading.Lock()


def open_archive(path: str) -> Archive:
    """The index of an archive, which is made anew where the file has changed.

    Raises:
        DataError: it cannot be read, or holds what it must not.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise DataError(path, "cannot be read", reason(error)) from None
    stamp = status.st_size, status.st_mtime_ns
    found = _known.get(path)
    if found is None or found.stamp != stamp:
        with _indexing:
            found = _known.get(path)
            if found is None or found.stamp != stamp:
                found = _known[path] = Archive(path, stamp)
    return found


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    try:
        with open_to_read(path) as file:
            yield file
    except OSError as error:
        raise DataError(path, "cannot be read", reason(error)) from None


def is_archive(path: str) -> bool:
    """Whether a file of that name is taken for an archive."""
    return path.lower().endswith(SUFFIXES) and os.path.isfile(path)


def archive_of(path: str) -> tuple[str, str] | None:
    """The archive that a path leads into, and the name behind it; None where there is none."""
    for match in _WITHIN.finditer(path):
        archive = path[: match.end() - 1]
        if os.path.isfile(archive):
            return archive, path[match.end() :].replace(os.sep, "/").strip("/")
    return None


def names_below(path: str) -> list[str] | None:
    """Paths of all files of an archive, or of a folder in one, in the order of a walk.

    None where the path is neither.

    Raises:
        DataError: as in `open_archive`.
    """
    place = (path, "") if is_archive(path) else archive_of(path)
    if place is None:
        return None
    archive, folder = place
    start = f"{folder}/" if folder else ""
    names = [name for name in open_archive(archive).members if name.startswith(start)]
    if folder and not names:
        return None
    return [f"{archive}/{name}" for name in in_order(names)]


def in_order(names: Iterable[str]) -> list[str]:
    """Names sorted folder by folder, as a walk meets them."""
    return sorted(names, key=lambda name: name.split("/"))


def open_picture(path: str | Path, buffering: int = -1) -> BinaryIO:
    """Open a file to read, also one in an archive; see `files.open_to_read`.

    Raises:
        NoDescriptorError: too many files are open.
        OSError: it cannot be opened for another reason.
    """
    try:
        return open_to_read(path, buffering)
    except (NotADirectoryError, FileNotFoundError):
        found = archive_of(os.fspath(path))
        if found is None:
            raise
    archive, name = found
    try:
        index = open_archive(archive)
    except NoDescriptorError:
        raise
    except DataError as error:
        raise OSError(errno.EIO, f"its archive {error.rule}", archive) from None
    with index.opened() as file:
        return io.BytesIO(index.read(name, file))


def is_picture_file(path: str) -> bool:
    """Whether there is a file of that path, also in an archive."""
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            return True
    except (OSError, ValueError):
        pass
    try:
        found = archive_of(path)
        return found is not None and found[1] in open_archive(found[0]).members
    except (DataError, ValueError):
        return False
