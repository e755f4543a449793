"""safetensors files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnn_cli.errors import DataError, missing_extra, reason
from cnn_cli.interop.foreign import Foreign, modules_by_name
from cnn_cli.interop.limits import Budget, not_read, widened
from cnn_cli.nn.types import Array

# NumPy's by the format's names. bfloat16, which NumPy lacks, is read as its bits.
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
        DataError: it is damaged or has numbers of a kind that is not read, such as 8-bit floats.
        UsageError: without the package.
    """
    try:
        from safetensors import SafetensorError, deserialize
    except ImportError as error:
        raise missing_extra(path, "safetensors", "pretrained") from error
    budget = Budget(path)
    budget.take(2 * budget.size)  # the file, and a copy of each array
    arrays: dict[str, Array] = {}
    try:
        found = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
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
    return Foreign(str(path), modules_by_name(arrays))
