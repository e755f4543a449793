"""Write `checkpoint-v<format>.npz`, which every later version must read.

    PYTHONPATH=tests/support python tests/runs/data/make_checkpoint.py

Run it once for a new format, and never again: files of older formats must not change.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from learnable import config_document, make_pictures

from cnn_cli.config import validate_config
from cnn_cli.inference.classifier import Classifier
from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint
from cnn_cli.runs.meta import FORMAT_VERSION
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Silent
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train


def main() -> None:
    target = Path(__file__).with_name(f"checkpoint-v{FORMAT_VERSION}.npz")
    with tempfile.TemporaryDirectory() as folder:
        pictures = make_pictures(Path(folder) / "pictures")
        optimizer = {"type": "adam", "lr": 0.01}
        document = config_document(pictures, epochs=2, optimizer=optimizer)
        options = TrainOptions(out=Path(folder) / "run", threads=1)
        config = validate_config(document, "make_checkpoint.yaml")
        train(config, "make_checkpoint.yaml", options, Requests(), Silent())
        checkpoint = load_checkpoint(Path(folder) / "run" / "last.npz")
    checkpoint.meta["config"]["data"]["root"] = "pictures"
    save_checkpoint(target, checkpoint)

    images = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8, 1)
    with Classifier.load(target).engine(1) as engine:
        print(f"{target}: logits of two ramps {engine.predict(images).tolist()}")


if __name__ == "__main__":
    main()
