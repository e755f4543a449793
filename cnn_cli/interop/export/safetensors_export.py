"""Export a checkpoint's weights to safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from cnn_cli.errors import missing_extra
from cnn_cli.files import write_atomic
from cnn_cli.inference.classifier import Classifier
from cnn_cli.interop.export.torchvision_names import torchvision_arrays
from cnn_cli.interop.exported import metadata


def save_safetensors(
    classifier: Classifier, path: Path, names: Literal["own", "torchvision"] = "own"
) -> None:
    """Write weights and statistics in PyTorch's layouts.

    Args:
        classifier: the checkpoint.
        path: the file.
        names: names of the network, `<layer>.<param>`, or torchvision's.

    Raises:
        UsageError: safetensors is not installed.
        DataError: the file cannot be written, or torchvision has no such network.
    """
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise missing_extra("export", "safetensors", "pretrained") from error
    if names == "torchvision":
        named = torchvision_arrays(classifier)
    else:
        arrays = classifier.params.named() | classifier.params.named_buffers()
        named = {name.replace("/", "."): array for name, array in arrays.items()}
    whole = {name: np.array(array, order="C") for name, array in named.items()}
    write_atomic(path, save(whole, metadata(classifier, temperature=True)))
