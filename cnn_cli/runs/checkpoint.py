"""Checkpoints: NumPy `.npz` files with named arrays and one JSON document, `meta`.

Reading trusts nothing: every member's declared size is checked against the file's size before
memory is allocated or, if it is compressed, against the network's size; and objects are never
unpickled.
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
import warnings
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from cnn_cli import strict_json
from cnn_cli.errors import DataError, reason, size_text
from cnn_cli.files import write_atomic
from cnn_cli.nn.types import Array, Shape
from cnn_cli.runs.meta import FORMAT_VERSION, check_meta
from cnn_cli.runs.stored_network import check_unpacked_size

META = "meta"
PRECISE_BN = "precise_bn"  # batch statistics estimated for evaluation
WEIGHT_GROUPS = ("model", "ema", PRECISE_BN)
BEST, LAST = "best.npz", "last.npz"
FOLD = "fold-"  # followed by its number: the folder of one fold's run
TRIAL = "trial-"  # the same, of a sweep
SWEEP = "sweep.json"
MOST_META = 16 * 2**20  # bytes, if compressed
MOST_HEADER = 12_000  # bytes of a member searched for its header; NumPy allows 10,000
# Version 1.0, as NumPy writes headers of numeric arrays.
PLAIN_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '(?P<type>[<|][fiu]\d)', "
    rb"'fortran_order': (?P<order>True|False), "
    rb"'shape': \((?P<shape>(?:\d{1,18}, ?)*(?:\d{1,18})?)\), \} *\n",
    re.DOTALL,
)


class Checkpoint:
    """Everything needed to evaluate, predict and resume.

    Attributes:
        meta: JSON-compatible metadata: config, class names, preprocessing, epoch, metrics and so
            on.
        groups: arrays by group (`model`, `optimizer`, ...) and by name (`<layer>/<param>`).
    """

    def __init__(
        self, meta: dict[str, Any], groups: dict[str, dict[str, Array]] | None = None
    ) -> None:
        self.meta = meta
        self.groups = {} if groups is None else groups


def save_checkpoint(path: str | Path, checkpoint: Checkpoint, *, own: bool = False) -> None:
    """Write a checkpoint, atomically and without a second copy of the arrays.

    `format_version` is added to its metadata; numbers that are not finite become null, since JSON
    has none.

    Args:
        path: the file.
        checkpoint: its content.
        own: see `files.write_atomic`.

    Raises:
        DataError: the file cannot be written; an older one is unchanged.
    """
    text = strict_json.dumps({"format_version": FORMAT_VERSION} | checkpoint.meta)
    arrays = {META: np.frombuffer(text.encode(), np.uint8)}
    for group, members in checkpoint.groups.items():
        arrays |= {f"{group}/{name}": array for name, array in members.items()}
    write_atomic(path, lambda file: np.savez(file, **arrays), own=own)  # type: ignore[arg-type]  # its allow_pickle is newer than NumPy 2.0


def load_checkpoint(path: str | Path, groups: Collection[str] | None = None) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: the `.npz` file, see `resolve_checkpoint`.
        groups: groups whose arrays are read; by default all.

    Raises:
        DataError: it is missing, damaged, from a newer version, not a checkpoint, or contains
            something that checkpoints do not.
    """
    try:
        file = open(path, "rb", opener=_open_now)  # noqa: SIM115 - closed below; errors of opening differ
    except (OSError, ValueError) as error:
        raise DataError(path, "cannot be read", reason(error)) from error
    with file:
        return _load(file, str(path), groups)


def _open_now(path: str, flags: int) -> int:
    """Open without blocking if it is a pipe without a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def resolve_checkpoint(path: str | Path) -> Path:
    """Return the checkpoint for a path: the file itself, or a run folder's best or last one.

    Raises:
        DataError: it is a folder without either.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    for name in (BEST, LAST):
        if (path / name).exists():
            return path / name
    several = "must be one network: name a"
    if holds_folds(path):
        raise DataError(path, f"{several} fold, such as {path / FOLD}1", "a run of folds")
    if (path / SWEEP).exists():
        raise DataError(path, f"{several} trial, such as {path / TRIAL}1", "a sweep")
    raise DataError(path, f"must be a checkpoint, or a run folder with {BEST} or {LAST}")


def holds_folds(path: str | Path) -> bool:
    """Whether a path is a run of folds: it contains the first fold's folder and no checkpoint of
    its own.
    """
    path = Path(path)
    return (path / f"{FOLD}1").is_dir() and not any((path / name).exists() for name in (BEST, LAST))


def _load(file: BinaryIO, place: str, groups: Collection[str] | None) -> Checkpoint:
    try:
        archive = _open_archive(file, place)
        members = _check_members(archive, os.fstat(file.fileno()).st_size, place)
        if META not in members:
            raise DataError(place, "must be a checkpoint of cnn", "an .npz file without meta")
        check_array_header(archive, members[META], META, place)
        meta = check_meta(read_array(archive, members[META]), place)
        if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
            check_unpacked_size(sum(info.file_size for info in members.values()), meta, place)
        checkpoint = Checkpoint(meta)
        for name, info in members.items():
            group, _, rest = name.partition("/")
            if name == META or (groups is not None and group not in groups):
                continue
            array = _read_checked(archive, info, name, place)
            if group in WEIGHT_GROUPS and not np.isfinite(array).all():
                raise DataError(place, f"{name} must hold finite numbers only")
            checkpoint.groups.setdefault(group, {})[rest] = array
    except DataError:
        raise
    except OSError as error:
        raise DataError(place, "cannot be read", reason(error)) from error
    except MemoryError as error:
        raise DataError(place, "must fit into memory") from error
    except Exception as error:  # for hostile files the zip and npy readers raise any exception
        raise DataError(place, "is damaged or cut short", reason(error)) from error
    return checkpoint


def _open_archive(file: BinaryIO, place: str) -> zipfile.ZipFile:
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise DataError(place, "must be a regular file")
    start = file.read(4)
    if start not in (b"PK\x03\x04", b"PK\x05\x06"):
        got = "an empty file" if not start else "a file of another kind"
        raise DataError(place, "must be a checkpoint, an .npz file", got)
    file.seek(0)
    return zipfile.ZipFile(file)


def _check_members(
    archive: zipfile.ZipFile, file_size: int, place: str
) -> dict[str, zipfile.ZipInfo]:
    """Return all members by name, after checking that their sizes fit the file's size.

    Compressed members may be larger; of those, only `meta` is known to be small.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    total = 0
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        group, _, rest = name.partition("/")
        if name == info.filename or not (name == META or (group and rest)):
            raise DataError(place, "must hold meta and arrays named group/name only", repr(name))
        if name in members:
            raise DataError(place, "must hold every array once", f"{name} twice")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            rule = "must be as numpy.savez or numpy.savez_compressed writes"
            raise DataError(place, rule, f"another compression of {name}")
        stored = info.compress_type == zipfile.ZIP_STORED
        total += info.compress_size
        if (stored and info.file_size != info.compress_size) or total > file_size:
            raise DataError(place, "is damaged or cut short", f"a wrong size of {name}")
        if name == META and not stored and info.file_size > MOST_META:
            rule = f"meta must have at most {size_text(MOST_META)}, compressed"
            raise DataError(place, rule, size_text(info.file_size))
        members[name] = info
    return members


def check_array_header(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, place: str
) -> None:
    """Refuse a member that is not an array of plain numbers, or has another size than declared.

    Args:
        archive: the archive.
        info: the member.
        name: name of the array, for messages.
        place: the file's name.

    Raises:
        DataError: it is refused; a damaged header may raise any exception.
    """
    with archive.open(info) as compressed:
        # A bounded read: a header may claim a length of four gigabytes.
        _read_header(compressed.read(MOST_HEADER), info.file_size, name, place)


def _read_header(
    start: bytes, size: int, name: str, place: str
) -> tuple[Shape, bool, np.dtype[Any], int]:
    """Return shape, whether it is in Fortran order, dtype, and the offset of the values.

    Args:
        start: beginning of the member.
        size: size of the member.
        name, place: see `check_array_header`.
    """
    plain = PLAIN_HEADER.match(start)
    begin = 10 + int.from_bytes(start[8:10], "little")
    if plain is not None and plain.end() == begin:  # NumPy's own reader is much slower
        shape = tuple(int(each) for each in plain["shape"].split(b",") if each.strip())
        by_columns, dtype = plain["order"] == b"True", np.dtype(plain["type"].decode())
    else:
        member = io.BytesIO(start)
        version = npy.read_magic(member)
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        if version not in readers:
            raise DataError(place, "is damaged or cut short", f"no array in {name}")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a header that NumPy has to guess about
            shape, by_columns, dtype = readers[version](member)
        begin = member.tell()
    if dtype.hasobject:
        raise DataError(place, "must hold plain numbers only", f"pickled objects in {name}")
    if dtype.kind not in "fiu" or dtype.shape:
        raise DataError(place, "must hold plain numbers only", f"type {dtype} in {name}")
    if _nbytes(shape, dtype) != size - begin:
        raise DataError(place, "is damaged or cut short", f"a wrong size of {name}")
    return shape, by_columns, dtype, begin


def _read_checked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, place: str) -> Array:
    """Read a member's array with the checks of `check_array_header`; in one read if it is stored
    uncompressed, since it cannot be larger than the file.
    """
    if info.compress_type != zipfile.ZIP_STORED:
        check_array_header(archive, info, name, place)
        return read_array(archive, info)
    content = bytearray(archive.read(info))
    header = _read_header(bytes(content[:MOST_HEADER]), info.file_size, name, place)
    shape, by_columns, dtype, begin = header
    array: Array = np.frombuffer(content, dtype, offset=begin)
    return array.reshape(shape, order="F" if by_columns else "C")


def _nbytes(shape: Shape, dtype: np.dtype[Any]) -> int:
    return -1 if min(shape, default=0) < 0 else math.prod(shape) * dtype.itemsize


def read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """Read the array of a member that `check_array_header` accepted."""
    with archive.open(info) as member:
        array: Array = npy.read_array(member, allow_pickle=False)
    return array
