"""PyTorch's `.pth` files, read without running code from them.

Such a file is a pickle, which builds objects by calling what it names. Here, the names needed for
tensors and plain containers map to functions of this module, and every other name is refused. Both
formats are read: the zip file of PyTorch 1.6 and later, and the older stream.
"""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.stride_tricks import as_strided

from cnn_cli.errors import DataError, reason
from cnn_cli.interop.foreign import HAS_BOTH, Foreign, Which, modules_by_name
from cnn_cli.interop.limits import Budget, widened
from cnn_cli.nn.types import Array

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MOST_PICKLE_BYTES = 16 * 2**20  # of names and shapes, without the tensors' data
MOST_ITEMS = 2**20  # of containers built from others
MOST_AXES = 32
MOST_MARK_BYTES = 16  # of the member with the byte order

# Storage types and dtypes by PyTorch's names. bfloat16, which NumPy lacks, is read as its bits.
STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bf16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
# Keys under which training checkpoints store the weights, and their moving average.
CONTAINERS = (
    *("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params"),
)
AVERAGES = ("ema", "model_ema", "state_dict_ema", "ema_state_dict", "params_ema")
MOST_DEEP = 4  # nested containers
# Classes that training checkpoints contain beside the weights; they are read as empty objects.
SKIPPED = {
    *(("argparse", "Namespace"), ("types", "SimpleNamespace"), ("_codecs", "encode")),
    *(("numpy", name) for name in ("dtype", "ndarray")),
    *(
        (f"numpy.{core}.multiarray", name)
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ),
    *(
        ("torch", name)
        for name in (
            *("device", "float16", "bfloat16", "float32", "float64", "int64", "int32", "uint8"),
            *("bool", "strided", "channels_last", "contiguous_format"),
        )
    ),
    *(
        ("pathlib", name)
        for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
    ),
    *(("datetime", name) for name in ("datetime", "date", "timedelta")),
    *(
        (module, name)
        for module in ("builtins", "__builtin__")
        for name in (
            *("int", "float", "bool", "str", "bytes", "list", "tuple", "dict", "set"),
            *("frozenset", "bytearray", "complex", "object"),
        )
    ),
}


@dataclass(frozen=True, slots=True)  # a pickle may set attributes on what it receives
class _Storage:
    """Values of which tensors are views."""

    code: str
    key: str
    numel: int

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype("<u2" if self.code == "bf16" else self.code).newbyteorder("<")


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    negative: bool = False

    def array(self, values: Array, budget: Budget) -> Array:
        """Return the tensor as a view of its storage's values, if possible.

        `_tensor` has checked that it lies inside the storage.
        """
        step = values.itemsize
        array = as_strided(
            values[self.offset :], self.shape, [step * stride for stride in self.strides]
        )
        if self.storage.code == "bf16":
            budget.take(2 * array.nbytes)
            array = widened(array)
        if self.negative:
            budget.take(array.nbytes)
            array = -array
        return array


class _RefusedError(Exception):
    """The file contains more than tensors and containers."""


def read_torch(path: Path, which: Which | None = None) -> Foreign:
    """Read a `.pth` file: a mapping of names to tensors, or a checkpoint that contains one.

    Other content of training checkpoints, such as options, is skipped.

    Args:
        path: the file.
        which: which weights to use if it also contains their moving average.

    Raises:
        DataError: it is damaged, would run code, or contains no such mapping.
    """
    budget = Budget(path)
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            found, values = _read_zip(file, budget) if zipped else _read_legacy(file, budget)
        tensors, notes = _state_dict(found, which)
        arrays = {
            name: tensor.array(values[tensor.storage.key], budget)
            for name, tensor in tensors.items()
        }
    except DataError:
        raise
    except _RefusedError as error:
        raise DataError(path, "must hold tensors and plain containers only", error) from error
    except OSError as error:
        raise DataError(path, "cannot be read", reason(error)) from error
    except MemoryError as error:
        raise DataError(path, "must fit into memory") from error
    except Exception as error:  # for hostile pickles the unpickler raises any exception
        text = reason(error)
        raise DataError(path, "must be a sound file of torch.save", text) from error
    return Foreign(str(path), modules_by_name(arrays), notes=notes)


def _read_zip(file: BinaryIO, budget: Budget) -> tuple[Any, dict[str, Array]]:
    """Return what the pickle built, and the storages' values by key."""
    archive = zipfile.ZipFile(file)
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("no data.pkl in it")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist():
        mark = archive.getinfo(f"{folder}byteorder")
        if mark.file_size > MOST_MARK_BYTES or archive.read(mark) != b"little":
            raise ValueError("big-endian numbers")
    if archive.getinfo(pickles[0]).file_size > MOST_PICKLE_BYTES:
        raise ValueError("its list of names is too long")
    unpickler = _Unpickler(io.BytesIO(archive.read(pickles[0])))
    found = unpickler.load()
    values = {}
    for key, storage in unpickler.storages.items():
        info = archive.getinfo(f"{folder}data/{key}")
        if not info.file_size == info.compress_size == storage.nbytes:
            raise ValueError(f"a wrong size of data/{key}")
        budget.take(storage.nbytes)
        values[key] = np.frombuffer(archive.read(info), storage.dtype)
    return found, values


def _read_legacy(file: BinaryIO, budget: Budget) -> tuple[Any, dict[str, Array]]:
    """Read several consecutive pickles, then the storages in the order of the last one."""
    if _Unpickler(file).load() != LEGACY_MAGIC or _Unpickler(file).load() != LEGACY_PROTOCOL:
        raise ValueError("neither a zip file nor PyTorch's older form")
    if _Unpickler(file).load().get("little_endian") is not True:
        raise ValueError("big-endian numbers")
    unpickler = _Unpickler(file)
    found = unpickler.load()
    values = {}
    for key in _Unpickler(file).load():
        storage = unpickler.storages[key]
        numel = int.from_bytes(file.read(8), "little")
        left = os.fstat(file.fileno()).st_size - file.tell()
        if numel != storage.numel or storage.nbytes > left:
            raise ValueError("cut short")
        budget.take(storage.nbytes)
        values[key] = np.frombuffer(file.read(storage.nbytes), storage.dtype)
    return found, values


class _Pickle:
    """A pickle in a file, from its current position; reads of any size are safe."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = MOST_PICKLE_BYTES

    def read(self, size: int) -> bytes:
        return self._count(self._file.read(size) if size <= self._left else b"", size)

    def readline(self) -> bytes:
        line = self._file.readline(self._left + 1)
        return self._count(line, len(line))

    def _count(self, content: bytes, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise ValueError("its list of names is too long")
        return content


# The standard library's unpickler in Python: its memo grows with the number of entries, not with
# the highest index.
class _Unpickler(pickle._Unpickler):
    """Builds numbers, texts, containers and `_Tensor`; calls nothing else."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(_Pickle(file), encoding="utf-8")
        self.storages: dict[str, _Storage] = {}
        self.items = 0
        self.nothing = _nothing()

    def find_class(self, module: str, name: str) -> Any:
        """Return the object for a name in the pickle.

        Functions are created anew each time, because a pickle may set attributes on them.

        Raises:
            _RefusedError: the name is not allowed.
        """
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): lambda items=(): OrderedDict(self._few(items)),
            ("collections", "defaultdict"): lambda *_: {},
            ("collections", "Counter"): lambda *_: {},
            ("torch", "Size"): lambda items=(): tuple(self._few(items)),
            ("torch._utils", "_rebuild_tensor"): lambda *given: _tensor(*given[:4]),
            ("torch._utils", "_rebuild_tensor_v2"): lambda *given: _tensor(*given[:4], *given[6:]),
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
        }
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) in SKIPPED:
            return self.nothing
        if (module, name) not in known:
            raise _RefusedError(f"{module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage"):
            raise ValueError("an unknown kind of reference")
        code, key, numel = pid[1], pid[2], pid[4]
        if not (
            code in STORAGES.values()
            and isinstance(key, str)
            and isinstance(numel, int)
            and numel >= 0
        ):
            raise ValueError("a damaged reference to numbers")
        if len(pid) == 6 and pid[5] is not None:
            raise ValueError("a view of a storage, as PyTorch before 0.4 wrote")
        return self.storages.setdefault(key, _Storage(code, key, numel))

    def _few(self, items: Any) -> Any:
        """Limit items to be copied: a few bytes can request copies of a long list repeatedly."""
        self.items += len(items)
        if self.items > MOST_ITEMS:
            raise ValueError("its list of names is too long")
        return items


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, bits: Any = None) -> _Tensor:
    """Check that a tensor lies inside its storage, and is not larger.

    Args:
        storage, offset, shape, strides: as in PyTorch's `as_strided`.
        bits: pending conjugation or negation.
    """
    numbers = (offset, *shape, *strides)
    if not (isinstance(storage, _Storage) and all(isinstance(n, int) and n >= 0 for n in numbers)):
        raise ValueError("a damaged tensor")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    size = prod(shape)
    if len(shape) > MOST_AXES or size > storage.numel or (size and last >= storage.numel):
        raise ValueError("a tensor larger than its numbers")
    done = {} if bits is None else bits
    if not isinstance(done, dict) or not set(done) <= {"neg"}:
        raise ValueError(f"a tensor with {', '.join(map(str, done))}")
    return _Tensor(storage, offset, tuple(shape), tuple(strides), done.get("neg") is True)


def _nothing() -> type:
    """Return a class whose objects accept whatever a pickle passes, and keep nothing.

    It is created anew for each file, because a pickle may set attributes on it.
    """

    def take(*_: Any) -> None:
        return None

    def new(cls: type, *_: Any) -> Any:
        return object.__new__(cls)

    names = ("__init__", "__setstate__", "__setitem__", "append", "extend", "add", "update")
    return type("Nothing", (), {"__slots__": (), "__new__": new, **dict.fromkeys(names, take)})


def _state_dict(found: Any, which: Which | None) -> tuple[Mapping[str, _Tensor], tuple[str, ...]]:
    """Return the mapping of names to tensors in a file, at the top or under a usual key.

    Returns:
        The mapping, and notes about it.
    """
    if not isinstance(found, dict):
        raise ValueError(f"no mapping of names to tensors, but a {type(found).__name__}")
    whole = {name: value for name, value in found.items() if isinstance(value, _Tensor)}
    if whole and len(whole) == len(found) and all(isinstance(name, str) for name in whole):
        if which == "ema":
            raise ValueError("no average of the weights (ema)")
        return whole, ()
    model, ema = (_inner(found, keys) for keys in (CONTAINERS, AVERAGES))
    if which == "ema":
        if ema is None:
            raise ValueError("no average of the weights (ema)")
        return ema, ()
    if model is None and which is None and ema is not None:
        return ema, ("weights are the average that the training kept (ema)",)
    if model is not None:
        has_both = which is None and ema is not None
        return model, (HAS_BOTH,) if has_both else ()
    if any(isinstance(name, str) and "." in name for name in whole):
        return {str(name): value for name, value in whole.items()}, ()
    keys = ", ".join(map(str, list(found)[:8]))
    raise ValueError(f"no mapping of names to tensors, but {keys or 'nothing'}")


def _inner(found: Any, keys: tuple[str, ...], deep: int = 0) -> Mapping[str, _Tensor] | None:
    """Return the tensors under the first key that has any, directly or nested."""
    for key in keys:
        inside = found.get(key)
        if not isinstance(inside, dict) or deep >= MOST_DEEP:
            continue
        tensors = {
            name: value
            for name, value in inside.items()
            if isinstance(name, str) and isinstance(value, _Tensor)
        }
        further = tensors or _inner(inside, CONTAINERS, deep + 1)
        if further:
            return further
    return None
