"""`cnn data`: examine a folder of images before training."""

from __future__ import annotations

from cnn_cli.cli.shared.commands import group

EXAMPLES = (
    "cnn data check photos",
    "cnn data doubt configs/small.yaml --output doubts.csv",
    "cnn data preview configs/small.yaml augment.hflip=0.5",
)

group(
    "data", "Check images, find label errors, preview augmentation.", order=130, examples=EXAMPLES
)
