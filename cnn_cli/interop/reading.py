"""Read a file of weights in any supported format."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cnn_cli.errors import DataError, reason
from cnn_cli.interop.foreign import Foreign, Which, no_choice
from cnn_cli.interop.readers.keras_file import read_h5, read_keras, read_model_json
from cnn_cli.interop.readers.npz_file import read_npz
from cnn_cli.interop.readers.onnx_file import read_onnx
from cnn_cli.interop.readers.safetensors_file import read_index, read_safetensors
from cnn_cli.interop.readers.torch_file import read_torch
from cnn_cli.interop.simplify import without_activation
from cnn_cli.nn.types import Shape

TORCH = (".pth", ".pt", ".bin", ".ckpt")
HDF5 = b"\x89HDF\r\n\x1a\n"
ENDINGS = (*TORCH, ".safetensors", ".npz", ".onnx", ".json", ".keras", ".h5", ".hdf5")
INDEX = ".safetensors.index.json"
NETWORKS = (".onnx", ".keras", ".h5", ".hdf5", ".json")

Format = Literal["torch", "npz", "safetensors", "index", "onnx", "model.json", "keras", "h5"]


def read_foreign(path: Path, in_shape: Shape | None = None, which: Which | None = None) -> Foreign:
    """Read a file of weights; its extension determines the format, or else its first bytes.

    Args:
        path: the file.
        in_shape: (rows, columns, channels) of an image, if the file does not give them.
        which: which weights of a training checkpoint.

    Raises:
        DataError: it is missing, damaged, of an unsupported format, or contains more than arrays.
        UsageError: reading it needs an extra that is not installed, or `which` is given for a
            format without that choice.
    """
    try:
        return without_activation(_read(path, in_shape, which))
    except MemoryError as error:
        raise DataError(path, "must fit into memory") from error
    except RecursionError as error:
        raise DataError(path, "must not be nested so deeply") from error


def is_network(path: Path) -> bool:
    """Whether a config can be derived from files with this extension."""
    name = path.name.lower()
    return name.endswith(NETWORKS) and not name.endswith(INDEX)


def _read(  # noqa: PLR0911 - a case a format
    path: Path, in_shape: Shape | None, which: Which | None
) -> Foreign:
    found = _format(path)
    if found == "torch":
        return read_torch(path, which)
    if found == "npz":
        return read_npz(path, which)
    if which is not None:
        raise no_choice(path)
    match found:
        case "safetensors":
            return read_safetensors(path)
        case "index":
            return read_index(path)
        case "onnx":
            return read_onnx(path, in_shape)
        case "model.json":
            return read_model_json(path, in_shape)
        case "keras":
            return read_keras(path, in_shape)
        case "h5":
            return read_h5(path, in_shape)


def _format(path: Path) -> Format:  # noqa: PLR0911 - a case a format
    """Return a file's format, by its extension or else its first bytes.

    Raises:
        DataError: it cannot be read, or its format is unsupported.
    """
    suffix = path.suffix.lower()
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise DataError(path, "must be a regular file")
        with path.open("rb") as file:
            start = file.read(9)
    except (OSError, ValueError) as error:
        raise DataError(path, "cannot be read", reason(error)) from error
    if start[8:] == b"{" and suffix not in (".npz", ".onnx", ".json", ".keras"):
        return "safetensors"
    if suffix in TORCH or (suffix not in ENDINGS and start.startswith((b"PK\x03\x04", b"\x80"))):
        return "h5" if start.startswith(HDF5) else "torch"
    if suffix == ".safetensors":
        return "safetensors"
    if suffix == ".npz":
        return "npz"
    if suffix == ".onnx":
        return "onnx"
    if suffix == ".json":
        return "index" if path.name.endswith(INDEX) else "model.json"
    if suffix == ".keras" and not start.startswith(HDF5):
        return "keras"
    if suffix in (".keras", ".h5", ".hdf5") or start.startswith(HDF5):
        return "h5"
    rule = (
        "must be .safetensors, .onnx, .keras, .h5, .npz, .pth, or the model.json of a Keras network"
    )
    raise DataError(path, rule, f"a name ending in {suffix!r}" if suffix else "no ending")
