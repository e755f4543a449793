"""A typical PyTorch script for classifying one image; `predict.py` times it.

Usage: torch_predict.py WEIGHTS.pt IMAGE
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from PIL import Image
from torch import nn

CLASSES = ("apple", "pear", "quince")
SIDE = 224


def main(weights: str, path: str) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(64, 128, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4608, len(CLASSES)),
    )
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    image = Image.open(path).convert("RGB")
    short = min(image.size)
    width, height = (SIDE * side // short for side in image.size)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    image = image.crop((left, top, left + SIDE, top + SIDE))
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        probabilities = network((x / 255 - 0.5) / 0.25).softmax(1)[0]
    best = int(probabilities.argmax())
    print(f"{path}\t{CLASSES[best]}\t{probabilities[best]:.6f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
