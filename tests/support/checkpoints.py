"""Checkpoint files of every kind: valid ones, and members written by hand."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_cli.errors import DataError
from cnn_cli.nn.types import Array
from cnn_cli.runs.checkpoint import Checkpoint, load_checkpoint

META: dict[str, Any] = {
    "config": {"model": {"layers": ["relu"]}},
    "classes": ["ant", "bée", "\udcff"],
    "preprocess": {"height": 28, "width": 32, "channels": 1, "resize_mode": "crop"},
    "mean": [0.5],
    "std": [0.25],
    "epoch": 3,
}


def example() -> Checkpoint:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    return Checkpoint(
        dict(META),
        {
            "model": {"stem/weight": weight.T, "stem/bias": np.zeros(0)},
            "optimizer": {"step": np.array(7), "momentum_buffer/stem/weight": weight},
        },
    )


def error_of(path: Path, what: Callable[[Path], object] = load_checkpoint) -> str:
    """Return the error for a file, without its name."""
    with pytest.raises(DataError) as caught:
        what(path)
    line = caught.value.line()
    start = f"{path}: "
    assert line.startswith(start)
    return line[len(start) :]


def npy(array: Array) -> bytes:
    """Return an array as a member of an .npz."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array)
    return file.getvalue()


def npy_header(descr: str, shape: str, *, size: int = 128) -> bytes:
    """Return the header of a member, valid or not."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    return (
        b"\x93NUMPY\x01\x00" + struct.pack("<H", size - 10) + text.ljust(size - 11).encode() + b"\n"
    )


def meta_bytes(**changes: Any) -> bytes:
    """Return `meta` as a member, with some keys changed."""
    meta = {"format_version": 1, **META, **changes}
    return npy(np.frombuffer(json.dumps(meta).encode(), np.uint8))


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
