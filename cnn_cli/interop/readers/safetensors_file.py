"""safetensors files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnn_cli import strict_json
from cnn_cli.errors import DataError, listed, missing_extra, reason
from cnn_cli.interop.foreign import Foreign, modules_by_name
from cnn_cli.interop.limits import MOST_TEXT, Budget, not_read, widened
from cnn_cli.nn.types import Array
from cnn_cli.text_files import read_text

# NumPy's dtypes by the format's names. bfloat16, which NumPy lacks, is read as its bits.
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "<u1",
    "BOOL": "?",
}


def read_safetensors(path: Path) -> Foreign:
    """Read a `.safetensors` file.

    Raises:
        DataError: it is damaged or has numbers of an unsupported type, such as 8-bit floats.
        UsageError: without the package.
    """
    modules = modules_by_name(_arrays(path, Budget(path)))
    return Foreign(str(path), modules, facts=_metadata(path))


def read_index(path: Path) -> Foreign:
    """Read the shards that a `.safetensors.index.json` lists, which lie beside it.

    Raises:
        DataError, UsageError: as in `read_safetensors`; or the index is invalid.
    """
    budget = Budget(path)
    try:
        found = strict_json.loads(read_text(path, MOST_TEXT))
        where = found["weight_map"]
        shards = dict.fromkeys(where.values())
        if not all(isinstance(name, str) for name in (*where, *shards)):
            raise TypeError("names that are no texts")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            path, "must say in weight_map which array is where", reason(error)
        ) from error
    arrays: dict[str, Array] = {}
    for name in shards:
        arrays |= _arrays(budget.file_beside(name), budget)
    if missing := sorted(set(where) - set(arrays)):
        raise DataError(path, "its shards must hold all arrays of weight_map", listed(missing))
    return Foreign(str(path), modules_by_name({name: arrays[name] for name in where}))


def _metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a sound file."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        return file.metadata() or {}


def _arrays(path: Path, budget: Budget) -> dict[str, Array]:
    """Return a file's arrays by name."""
    try:
        from safetensors import SafetensorError, deserialize
    except ImportError as error:
        raise missing_extra(path, "safetensors", "pretrained") from error
    arrays: dict[str, Array] = {}
    try:
        budget.take(2 * path.stat().st_size)  # the file, and a copy of each array
        found = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]  # has no types
        for name, tensor in found:
            if tensor["dtype"] not in DTYPES:
                raise not_read(path, name, tensor["dtype"])
            array = np.frombuffer(tensor["data"], DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
            if tensor["dtype"] == "BF16":
                budget.take(2 * array.nbytes)
                array = widened(array)
            arrays[name] = array
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(path, "must be a sound safetensors file", reason(error)) from error
    return arrays
