"""PyTorch's `.pth` files, read without running what they say.

Such a file is a pickle: a program that builds objects by calling what it names. Here the names
that tensors and plain containers need stand for functions of this module, and every other name is
refused. Both forms are read, the zip file of PyTorch 1.6 and later and the stream before it.
"""

from __future__ import annotations

import io
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
from cnn_cli.interop.foreign import Foreign, modules_by_name
from cnn_cli.nn.types import Array

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MOST_PICKLE_BYTES = 64 * 2**20  # of names and shapes, apart from the numbers
MOST_AXES = 32

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
# Where a training's checkpoint keeps the weights among other things.
CONTAINERS = ("state_dict", "model_state_dict", "model")


@dataclass(slots=True)
class _Storage:
    """Numbers that tensors are views of; `values` comes with `_fill`."""

    code: str
    key: str
    numel: int
    values: Array | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype("<u2" if self.code == "bf16" else self.code).newbyteorder("<")


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> Array:
        """The values; `_check` has seen that they lie inside the storage."""
        values = self.storage.values
        assert values is not None
        step = values.itemsize
        view = as_strided(
            values[self.offset :], self.shape, [step * stride for stride in self.strides]
        )
        if self.storage.code == "bf16":
            return (view.astype(np.uint32) << 16).view(np.float32)
        return np.array(view)


class _RefusedError(Exception):
    """The file asks for more than tensors and containers."""


def read_torch(path: Path) -> Foreign:
    """Read a `.pth` file: a mapping of names to tensors, or a checkpoint that holds one.

    Raises:
        DataError: it is damaged, asks for code to be run, or holds no such mapping.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            found = _read_zip(file) if zipped else _read_legacy(file)
        arrays = {name: tensor.array() for name, tensor in _state_dict(found).items()}
    except _RefusedError as error:
        raise DataError(path, "must hold tensors and plain containers only", error) from error
    except OSError as error:
        raise DataError(path, "cannot be read", reason(error)) from error
    except MemoryError as error:
        raise DataError(path, "must fit into memory") from error
    except Exception as error:  # a hostile pickle makes the unpickler raise anything
        text = reason(error)
        raise DataError(path, "must be a sound file of torch.save", text) from error
    return Foreign(str(path), modules_by_name(arrays))


def _read_zip(file: BinaryIO) -> Any:
    archive = zipfile.ZipFile(file)
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("no data.pkl in it")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist() and (
        archive.read(f"{folder}byteorder") != b"little"
    ):
        raise ValueError("big-endian numbers")
    if archive.getinfo(pickles[0]).file_size > MOST_PICKLE_BYTES:
        raise ValueError("its list of names is too long")
    unpickler = _Unpickler(io.BytesIO(archive.read(pickles[0])))
    found = unpickler.load()
    for storage in unpickler.storages.values():
        info = archive.getinfo(f"{folder}data/{storage.key}")
        nbytes = storage.numel * storage.dtype.itemsize
        if not info.file_size == info.compress_size == nbytes:
            raise ValueError(f"a wrong size of data/{storage.key}")
        storage.values = np.frombuffer(archive.read(info), storage.dtype)
    return found


def _read_legacy(file: BinaryIO) -> Any:
    """Several pickles one after the other, then the storages in the order of the last one."""
    if _Unpickler(file).load() != LEGACY_MAGIC or _Unpickler(file).load() != LEGACY_PROTOCOL:
        raise ValueError("neither a zip file nor PyTorch's older form")
    if _Unpickler(file).load().get("little_endian") is not True:
        raise ValueError("big-endian numbers")
    unpickler = _Unpickler(file)
    found = unpickler.load()
    for key in _Unpickler(file).load():
        storage = unpickler.storages[key]
        numel = int.from_bytes(file.read(8), "little")
        content = file.read(numel * storage.dtype.itemsize) if numel == storage.numel else b""
        storage.values = np.frombuffer(content, storage.dtype)
        if len(storage.values) != numel:
            raise ValueError("cut short")
    return found


class _Unpickler(pickle.Unpickler):
    """Builds numbers, texts, containers and `_Tensor`; calls nothing else."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        found = _known(module, name)
        if found is None:
            raise _RefusedError(f"{module}.{name}")
        return found

    def persistent_load(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage"):
            raise ValueError("an unknown kind of reference")
        code, key, numel = pid[1], pid[2], pid[4]
        if not (isinstance(code, str) and isinstance(key, str) and isinstance(numel, int)):
            raise ValueError("a damaged reference to numbers")
        if len(pid) == 6 and pid[5] is not None:
            raise ValueError("a view of a storage, as PyTorch before 0.4 wrote")
        return self.storages.setdefault(key, _Storage(code, key, numel))


def _known(module: str, name: str) -> Any:
    """What a name in the pickle stands for; None for what has no business there.

    Functions are made anew each time: a pickle may set attributes of what it is given.
    """
    if (module, name) == ("collections", "OrderedDict"):
        return OrderedDict
    if module == "torch._utils":
        makers: dict[str, Callable[..., Any]] = {
            "_rebuild_tensor": lambda *given: _tensor(*given[:4]),
            "_rebuild_tensor_v2": lambda *given: _tensor(*given[:4]),
            "_rebuild_parameter": lambda data, *_: data,
        }
        return makers.get(name)
    if module == "torch" and name in STORAGES:
        return STORAGES[name]
    if (module, name) == ("torch", "Size"):
        return tuple
    return None


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> _Tensor:
    """Check that a tensor lies inside its storage, and is no larger."""
    numbers = (offset, *shape, *strides)
    if not (isinstance(storage, _Storage) and all(isinstance(n, int) and n >= 0 for n in numbers)):
        raise ValueError("a damaged tensor")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    size = prod(shape)
    if len(shape) > MOST_AXES or size > storage.numel or (size and last >= storage.numel):
        raise ValueError("a tensor larger than its numbers")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _state_dict(found: Any) -> Mapping[str, _Tensor]:
    """The mapping of names to tensors that a file holds, itself or under a usual key."""
    if not isinstance(found, dict):
        raise ValueError(f"no mapping of names to tensors, but a {type(found).__name__}")
    inner = [found[key] for key in CONTAINERS if isinstance(found.get(key), dict)]
    candidates: list[dict[str, _Tensor]] = [found, *inner]
    for candidate in candidates:
        if candidate and all(
            isinstance(name, str) and isinstance(value, _Tensor)
            for name, value in candidate.items()
        ):
            return candidate
    keys = ", ".join(map(str, list(found)[:8]))
    raise ValueError(f"no mapping of names to tensors, but {keys or 'nothing'}")
