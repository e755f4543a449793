"""Images in zip and tar archives, read in place.

The path of an image in an archive continues the archive's path: ``photos.zip/cats/1.jpg``. Each
process indexes an archive once. Members are then read by their offset, from any thread, and no file
stays open. A ``.tar.gz`` has no usable offsets, so it is decompressed once, into an unnamed file.

Harmful content is refused: names that lead out of the archive, links, duplicate names, encryption,
and members larger than declared.
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
# Of one image: at Pillow's pixel limit, 16-bit color with alpha takes 0.7 GB.
MOST_BYTES = 2**30
MOST_MEMBERS = 10_000_000
BLOCK = 2**20
TAR_BLOCK = 512

_WITHIN = re.compile(rf"(?:{'|'.join(map(re.escape, SUFFIXES))})[/{re.escape(os.sep)}]", re.I)
_DRIVE = re.compile(r"[A-Za-z]:")
_ZIP_HEADER = struct.Struct("<4s22xHH")  # of a member: lengths of its name and of the extra field
STORED, DEFLATED = 0, 8  # compression methods of zip archives


class Member(NamedTuple):
    """A file in an archive.

    Attributes:
        offset: offset of its data; in a zip archive, of its header.
        packed: compressed size in bytes.
        size: size in bytes.
        method: compression method of a zip archive, as in `zipfile`; None in tar archives.
        crc: CRC-32 of its content, in a zip archive.
        problem: why it cannot be read, or None.
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
        path: the archive file.
        stamp: its size and modification time.

    Attributes:
        members: its visible files, by name.

    Raises:
        DataError: it cannot be read, or contains something forbidden.
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
        """Context with the open archive, to read several members from."""
        if self._unpacked is None:
            with open_to_read(self.path, 0) as file:
                yield file
        else:
            with self._lock:
                yield self._unpacked

    def read(self, name: str, file: BinaryIO) -> bytes:
        """Read a member.

        Args:
            name: name of the member.
            file: the file from `opened`.

        Raises:
            OSError: the member does not exist, or is damaged, too large or encrypted.
        """
        member = self.members.get(name)
        if member is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        if member.problem is not None:
            raise OSError(errno.EIO, member.problem, name)
        if max(member.size, member.packed) > MOST_BYTES:
            raise OSError(errno.EIO, f"more than {MOST_BYTES:,} bytes", name)
        if member.method is None:
            file.seek(member.offset)
            data = _read(file, member.size)
            if len(data) < member.size:
                raise OSError(errno.EIO, "a truncated archive", name)
            return data
        return _read_zipped(member, file, name)


def _read_zipped(member: Member, file: BinaryIO, name: str) -> bytes:
    damaged = OSError(errno.EIO, "a file damaged in its archive", name)
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
        raise OSError(errno.EIO, "more bytes than its archive declares", name)
    if len(data) < member.size or zlib.crc32(data) != member.crc:
        raise damaged
    return data


def _read(file: BinaryIO, size: int) -> bytes:
    """Read that many bytes from an unbuffered file, fewer at its end."""
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
        if "/" not in name:  # some Windows programs write backslashes
            name = name.replace("\\", "/")
        if name.endswith("/"):
            continue
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DataError(path, "must hold no links", f"'{name}'")
        problem = None
        if info.flag_bits & 1:
            problem = "an encrypted file"
        elif info.compress_type not in (STORED, DEFLATED):
            problem = f"compression by method {info.compress_type}; only deflate (8) is read"
        elif info.header_offset + info.compress_size > end:
            problem = "a truncated archive"
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
            problem = "a sparse file" if info.issparse() else None
            yield info.name, Member(info.offset_data, info.size, info.size, problem=problem)
        end = archive.offset  # offset of the next header
    file.seek(end)
    if _read(file, TAR_BLOCK) != bytes(TAR_BLOCK):
        raise tarfile.ReadError("unexpected end of data")


def _unpack(path: str, file: BinaryIO) -> BinaryIO:
    """Decompress a tar.gz archive into an unnamed file, which disappears with the process."""
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
    """Return the index of an archive, rebuilt if the file has changed.

    Raises:
        DataError: it cannot be read, or contains something forbidden.
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
    """Whether a file name is that of an archive."""
    return path.lower().endswith(SUFFIXES) and os.path.isfile(path)


def archive_of(path: str) -> tuple[str, str] | None:
    """Split a path into an archive and the name in it; None if it contains no archive."""
    for match in _WITHIN.finditer(path):
        archive = path[: match.end() - 1]
        if os.path.isfile(archive):
            return archive, path[match.end() :].replace(os.sep, "/").strip("/")
    return None


def names_below(path: str) -> list[str] | None:
    """Return the paths of all files in an archive, or in a folder of one, in the order of a walk.

    None if the path is neither.

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
    """Sort names folder by folder, in the order of a walk."""
    return sorted(names, key=lambda name: name.split("/"))


def open_picture(path: str | Path, buffering: int = -1) -> BinaryIO:
    """Open a file for reading, possibly in an archive; see `files.open_to_read`.

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
        raise OSError(errno.EIO, f"a refused archive: it {error.rule}", archive) from None
    with index.opened() as file:
        return io.BytesIO(index.read(name, file))


def is_picture_file(path: str) -> bool:
    """Whether a file of that path exists, possibly in an archive."""
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
