"""safetensors files."""

from __future__ import annotations

from pathlib import Path

from cnn_cli.errors import DataError, missing_extra, reason
from cnn_cli.interop.foreign import Foreign, modules_by_name


def read_safetensors(path: Path) -> Foreign:
    """Read a `.safetensors` file.

    Raises:
        DataError: it is damaged or has numbers of a kind that NumPy lacks.
        UsageError: without the package.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise missing_extra(path, "safetensors", "pretrained") from error
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(path, "must be a sound safetensors file", reason(error)) from error
    return Foreign(str(path), modules_by_name(arrays))
