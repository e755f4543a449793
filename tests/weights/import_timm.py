"""Export timm's convolutional networks to ONNX, import them without a config, and count successes.

    python tests/weights/import_timm.py [NAME...]

It needs timm, and downloads nothing: weights are random, and batch normalization statistics are
measured on random images. `timm/convolutional.txt` lists the networks. `cnn import` only writes a
network whose scores agree with onnxruntime's.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from compare_networks import TIMM

from cnn_cli.errors import CnnError
from cnn_cli.interop.importing import ImportOptions, import_weights
from cnn_cli.interop.onnx_agreement import AGREE

OPTIONS = ImportOptions(mean=(0.5,), std=(0.5,))
# Image sizes, by a part of the name; smaller ones than networks were designed for are faster.
SIZE = 96
SIZES = {"vgg": 224, "inception": 139, "nasnet": 139}


def main(names: list[str]) -> None:
    names = names or (TIMM / "convolutional.txt").read_text(encoding="utf-8").split()
    works = 0
    for name in names:
        with TemporaryDirectory() as folder:
            result = imported(name, Path(folder))
        print(f"{name}: {result}", flush=True)
        works += result.startswith(AGREE)
    print(f"\n{works} of {len(names)} networks are imported.")


def imported(name: str, folder: Path) -> str:
    """Export and import a network; how its scores agree, or why it cannot be imported."""
    path = folder / "net.onnx"
    try:
        export(name, path)
    except Exception as error:  # whatever the exporter raises
        return f"not exported: {type(error).__name__}"
    try:
        report = import_weights(path, None, [], folder / "net.npz", OPTIONS)
    except CnnError as error:
        return error.line().removeprefix(f"{path}: ")
    return report.notes[-1]


def export(name: str, path: Path) -> None:
    """Write a network with PyTorch's exporter that traces."""
    torch: Any = import_module("torch")
    timm: Any = import_module("timm")
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False)
    size = next((size for part, size in SIZES.items() if part in name), SIZE)
    images = torch.randn(2, 3, size, size)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = (model.eval(), (images[:1],), str(path))
        torch.onnx.export(*arguments, dynamo=False, opset_version=17)


if __name__ == "__main__":
    main(sys.argv[1:])
