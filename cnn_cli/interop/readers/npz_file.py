"""NumPy's npz files of plain arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from pathlib import Path

from cnn_cli.errors import CnnError, DataError, reason
from cnn_cli.inference.rejection import REJECTION
from cnn_cli.interop.exported import checkpoint_metadata
from cnn_cli.interop.foreign import HAS_BOTH, Foreign, Which, modules_by_name, no_choice
from cnn_cli.interop.limits import Budget
from cnn_cli.nn.types import Array
from cnn_cli.runs.checkpoint import META, WEIGHT_GROUPS, check_array_header, read_array
from cnn_cli.runs.meta import check_meta

MODEL, EMA, _ = WEIGHT_GROUPS


def read_npz(path: Path, which: Which | None = None) -> Foreign:
    """Read an `.npz`: a checkpoint of this program, or any other.

    Args:
        path: the file.
        which: which weights of a checkpoint.

    Raises:
        DataError: it is damaged, contains anything but numeric arrays, or has no moving average.
        UsageError: `which` is given, and it is no checkpoint.
    """
    budget = Budget(path)
    arrays: dict[str, Array] = {}
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            groups, notes = _groups(members, which, path)
            for group in groups:
                for name, info in members.items():
                    if name.startswith(group):
                        check_array_header(archive, info, name, str(path))
                        budget.take(info.file_size)
                        arrays[name.removeprefix(group)] = read_array(archive, info)
            facts: dict[str, str] = {}
            if META in members:
                check_array_header(archive, members[META], META, str(path))
                budget.take(members[META].file_size)
                meta = check_meta(read_array(archive, members[META]), str(path))
                facts = checkpoint_metadata(meta)
    except CnnError:
        raise
    except MemoryError as error:
        raise DataError(path, "must fit into memory") from error
    except Exception as error:  # for hostile files the zip and npy readers raise any exception
        raise DataError(path, "must be a sound .npz file of plain arrays", reason(error)) from error
    return Foreign(str(path), modules_by_name(arrays), facts=facts, notes=notes)


def _groups(
    names: Collection[str], which: Which | None, path: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return how the names of wanted arrays begin, later ones replacing earlier ones, and notes.

    Statistics estimated for evaluation (`precise_bn`) are those of the average, if there is one.
    """
    if META not in names:
        if which is not None:
            raise no_choice(path)
        return ("",), ()
    has_both = any(name.startswith(f"{EMA}/") for name in names)
    if which == "ema" and not has_both:
        raise DataError(path, "must hold a moving average of the weights for --which ema")
    groups = (MODEL,) if has_both and which != "ema" else WEIGHT_GROUPS
    notes = [HAS_BOTH] if has_both and which is None else []
    if any(name.startswith(f"{REJECTION}/") for name in names):
        notes.append("the file's network refuses images, which is not imported")
    return tuple(f"{group}/" for group in groups), tuple(notes)
