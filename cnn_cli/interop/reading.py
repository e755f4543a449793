"""A file of weights of any kind that can be read."""

from __future__ import annotations

from pathlib import Path

from cnn_cli.errors import DataError, reason
from cnn_cli.interop.foreign import Foreign
from cnn_cli.interop.readers.keras_file import read_h5, read_model_json
from cnn_cli.interop.readers.npz_file import read_npz
from cnn_cli.interop.readers.onnx_file import read_onnx
from cnn_cli.interop.readers.safetensors_file import read_safetensors
from cnn_cli.interop.readers.torch_file import read_torch
from cnn_cli.nn.types import Shape


def read_foreign(path: Path, in_shape: Shape | None = None) -> Foreign:
    """Read a file of weights: its ending says which kind it is; an HDF5 file begins as such.

    Args:
        path: the file.
        in_shape: (rows, columns, channels) of an image, where a network's file leaves it open.

    Raises:
        DataError: it is absent, damaged, of a kind that is not read, or holds more than arrays.
        UsageError: reading it needs an extra that is not installed.
    """
    try:
        return _read(path, in_shape)
    except MemoryError as error:
        raise DataError(path, "must fit into memory") from error
    except RecursionError as error:
        raise DataError(path, "must not be nested so deeply") from error


def is_network(path: Path) -> bool:
    """Whether a file's ending is of those that say how their layers are connected."""
    return path.suffix.lower() in (".onnx", ".h5", ".hdf5", ".json", ".keras")


def _read(path: Path, in_shape: Shape | None) -> Foreign:
    suffix = path.suffix.lower()
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise DataError(path, "must be a regular file")
        with path.open("rb") as file:
            start = file.read(8)
    except (OSError, ValueError) as error:
        raise DataError(path, "cannot be read", reason(error)) from error
    if suffix in (".pth", ".pt", ".bin", ".ckpt"):
        return read_torch(path)
    if suffix == ".safetensors":
        return read_safetensors(path)
    if suffix == ".npz":
        return read_npz(path)
    if suffix == ".onnx":
        return read_onnx(path, in_shape)
    if suffix == ".json":
        return read_model_json(path)
    if suffix in (".h5", ".hdf5") or start == b"\x89HDF\r\n\x1a\n":
        return read_h5(path)
    rule = "must be .safetensors, .onnx, .h5, .npz, .pth, or the model.json of a Keras network"
    raise DataError(path, rule, f"a name ending in {suffix!r}" if suffix else "no ending")
