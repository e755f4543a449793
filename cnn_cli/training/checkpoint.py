"""Checkpoints: NumPy `.npz` files of named arrays and one JSON document, `meta`.

Reading trusts nothing: every member's declared size is held against the file's own before memory
is taken for it, and no object is ever unpickled.
"""

from __future__ import annotations

import json
import math
import os
import stat
import warnings
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from cnn_cli.errors import DataError, reason
from cnn_cli.files import write_atomic
from cnn_cli.nn.types import Array, Shape
from cnn_cli.training.checkpoint_meta import FORMAT_VERSION, check_meta

META = "meta"
WEIGHT_GROUPS = ("model", "ema", "precise_bn")
BEST, LAST = "best.npz", "last.npz"


@dataclass(slots=True)
class Checkpoint:
    """All that evaluating, predicting and resuming need.

    Attributes:
        meta: what JSON can hold: config, class names, preprocessing, epoch, metrics and so on.
        groups: arrays by group (`model`, `optimizer`, ...) and by name (`<layer>/<param>`).
    """

    meta: dict[str, Any]
    groups: dict[str, dict[str, Array]] = field(default_factory=dict)


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, atomically and without a second copy of the arrays.

    `format_version` is added to its meta; numbers that are not finite become null there, since
    JSON has none.

    Raises:
        DataError: the file cannot be written; an older one is as it was.
    """
    meta = {"format_version": FORMAT_VERSION} | _finite(checkpoint.meta)
    text = json.dumps(meta, allow_nan=False).encode()
    arrays = {META: np.frombuffer(text, np.uint8)}
    for group, members in checkpoint.groups.items():
        arrays |= {f"{group}/{name}": array for name, array in members.items()}
    write_atomic(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]  # its allow_pickle is newer than NumPy 2.0


def load_checkpoint(path: str | Path, groups: Collection[str] | None = None) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: the `.npz` file, see `resolve_checkpoint`.
        groups: those whose arrays are wanted; by default all.

    Raises:
        DataError: absent, no checkpoint, damaged, from a newer version, or with contents that
            no checkpoint has.
    """
    try:
        file = open(path, "rb", opener=_open_now)  # noqa: SIM115 - closed below; errors of opening differ
    except (OSError, ValueError) as error:
        raise DataError(path, "cannot be read", reason(error)) from error
    with file:
        return _load(file, str(path), groups)


def _open_now(path: str, flags: int) -> int:
    """Open, without waiting for somebody to write where it is a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def resolve_checkpoint(path: str | Path) -> Path:
    """The checkpoint that a path means: a file itself, of a run folder its best or last one.

    Raises:
        DataError: a folder without either.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    for name in (BEST, LAST):
        if (path / name).exists():
            return path / name
    raise DataError(path, f"must be a checkpoint, or a run folder with {BEST} or {LAST}")


def _load(file: BinaryIO, place: str, groups: Collection[str] | None) -> Checkpoint:
    try:
        archive = _open_archive(file, place)
        members = _check_members(archive, os.fstat(file.fileno()).st_size, place)
        if META not in members:
            raise DataError(place, "must be a checkpoint of cnn", "an .npz file without meta")
        meta = check_meta(_read(archive, META), place)
        checkpoint = Checkpoint(meta)
        for name in members:
            group, _, rest = name.partition("/")
            if name == META or (groups is not None and group not in groups):
                continue
            array = _read(archive, name)
            if group in WEIGHT_GROUPS and not np.isfinite(array).all():
                raise DataError(place, f"{name} must hold finite numbers only")
            checkpoint.groups.setdefault(group, {})[rest] = array
    except DataError:
        raise
    except OSError as error:
        raise DataError(place, "cannot be read", reason(error)) from error
    except MemoryError as error:
        raise DataError(place, "must fit into memory") from error
    except Exception as error:  # a hostile file makes the zip and npy readers raise anything
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


def _check_members(archive: zipfile.ZipFile, file_size: int, place: str) -> list[str]:
    """The names of all arrays, once their headers promise no more than the file holds."""
    names = []
    total = 0
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        group, _, rest = name.partition("/")
        if name == info.filename or not (name == META or (group and rest)):
            raise DataError(place, "must hold meta and arrays named group/name only", repr(name))
        if name in names:
            raise DataError(place, "must hold every array once", f"{name} twice")
        if info.compress_type != zipfile.ZIP_STORED:
            raise DataError(place, "must be uncompressed, as numpy.savez writes", name)
        total += info.file_size
        if info.file_size != info.compress_size or total > file_size:
            raise DataError(place, "is damaged or cut short", f"a wrong size of {name}")
        _check_header(archive, info, name, place)
        names.append(name)
    return names


def _check_header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, place: str) -> None:
    with archive.open(info) as member:
        version = npy.read_magic(member)
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        if version not in readers:
            raise DataError(place, "is damaged or cut short", f"no array in {name}")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a header that NumPy has to guess about
            shape, _, dtype = readers[version](member)
        if dtype.hasobject:
            raise DataError(place, "must hold plain numbers only", f"pickled objects in {name}")
        if dtype.kind not in "fiu" or dtype.shape:
            raise DataError(place, "must hold plain numbers only", f"type {dtype} in {name}")
        if _nbytes(shape, dtype) != info.file_size - member.tell():
            raise DataError(place, "is damaged or cut short", f"a wrong size of {name}")


def _nbytes(shape: Shape, dtype: np.dtype[Any]) -> int:
    return -1 if min(shape, default=0) < 0 else math.prod(shape) * dtype.itemsize


def _read(archive: zipfile.ZipFile, name: str) -> Array:
    with archive.open(f"{name}.npy") as member:
        array: Array = npy.read_array(member, allow_pickle=False)
    return array


def _finite(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
    return value
