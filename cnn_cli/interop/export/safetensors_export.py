"""A checkpoint's weights as a safetensors file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnn_cli.errors import missing_extra
from cnn_cli.files import write_atomic
from cnn_cli.inference.classifier import Classifier
from cnn_cli.interop.export.metadata import metadata


def save_safetensors(classifier: Classifier, path: Path) -> None:
    """Weights and statistics under PyTorch's names, `<layer>.<param>`, and layouts.

    Raises:
        UsageError: without the package safetensors.
        DataError: the file cannot be written.
    """
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise missing_extra("export", "safetensors", "pretrained") from error
    params = classifier.params
    arrays = params.named() | params.named_buffers()
    named = {name.replace("/", "."): np.ascontiguousarray(array) for name, array in arrays.items()}
    write_atomic(path, save(named, metadata(classifier)))
