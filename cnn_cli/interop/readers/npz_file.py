"""NumPy's npz files of plain arrays."""

from __future__ import annotations

import zipfile
from pathlib import Path

from cnn_cli.errors import DataError, reason
from cnn_cli.interop.foreign import Foreign, modules_by_name
from cnn_cli.interop.limits import Budget
from cnn_cli.nn.types import Array
from cnn_cli.runs.checkpoint import META, check_array_header, read_array

MODEL = "model/"


def read_npz(path: Path) -> Foreign:
    """Read an `.npz`: one of this program, whose `model/` arrays are used, or any other.

    Raises:
        DataError: it is damaged, or contains anything but numeric arrays.
    """
    budget = Budget(path)
    arrays: dict[str, Array] = {}
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            ours = META in members
            for name, info in members.items():
                if not ours or name.startswith(MODEL):
                    check_array_header(archive, info, name, str(path))
                    budget.take(info.file_size)
                    arrays[name.removeprefix(MODEL)] = read_array(archive, info)
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(path, "must fit into memory") from error
    except Exception as error:  # for hostile files the zip and npy readers raise any exception
        raise DataError(path, "must be a sound .npz file of plain arrays", reason(error)) from error
    return Foreign(str(path), modules_by_name(arrays))
