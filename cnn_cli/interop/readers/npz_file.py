"""NumPy's npz files of plain arrays."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from cnn_cli.errors import DataError, reason
from cnn_cli.interop.foreign import Foreign, modules_by_name


def read_npz(path: Path) -> Foreign:
    """Read an `.npz`: of this program, whose `model/` arrays are taken, or of any other.

    Raises:
        DataError: it is damaged, or holds pickled objects.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if _is_weight(name)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        raise DataError(path, "must be a sound .npz file of plain arrays", reason(error)) from error
    return Foreign(
        str(path),
        modules_by_name({name.removeprefix("model/"): array for name, array in arrays.items()}),
    )


def _is_weight(name: str) -> bool:
    return name != "meta" and name.split("/", maxsplit=1)[0] not in (
        "optimizer",
        "ema",
        "precise_bn",
    )
