"""How long to train the last layer: `python tests/benchmarks/last_layer.py FEATURES.npz`.

FEATURES.npz is written by `cnn embed FOLDER --ckpt PRETRAINED.npz --output FEATURES.npz`; an
image's folder is its class. The layer is trained as by `train.head`: SGD with momentum 0.9, batches
of 32, a cosine to 0, and dropout. Each row is the mean of five trainings on a few images per class,
or on four fifths of all, measured on the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path, PurePath

import numpy as np

from cnn_cli.arithmetic import ceil_div
from cnn_cli.inference.index import Index
from cnn_cli.nn.types import Array

BATCH_SIZE = 32
DROPOUT = 0.2  # EfficientNet-Lite's
RATES = (0.0125, 0.05)
EPOCHS = (5, 10, 20, 40)
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description="Trains the last layer for longer and shorter.")
    parser.add_argument("features", type=Path, help="from cnn embed")
    parser.add_argument("--sizes", default="4,8,50,all", help="training images per class")
    options = parser.parse_args()
    index = Index.open(options.features)
    folders = [PurePath(path.decode()).parent.name for path in index.paths]
    names, labels = np.unique(folders, return_inverse=True)
    features = np.array(index.features, np.float32)
    print("| images per class | rate | epochs | accuracy | loss |\n|---|---|---|---|---|")
    for size in options.sizes.split(","):
        parts = [chosen(labels, size, seed) for seed in range(REPEATS)]
        for rate in RATES:
            for epochs in EPOCHS:
                found = []
                for seed, part in enumerate(parts):
                    model = fit(features[part], labels[part], len(names), rate, epochs, seed)
                    found.append(score(*model, features[~part], labels[~part]))
                accuracy, loss = np.mean(found, axis=0)
                print(f"| {size} | {rate} | {epochs} | {accuracy:.4f} | {loss:.4f} |", flush=True)


def chosen(labels: Array, size: str, seed: int) -> Array:
    """Return which images to train on: some of each class, or all but every fifth."""
    rng = np.random.default_rng(seed)
    part = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        images = rng.permutation(np.flatnonzero(labels == label))
        part[images[: len(images) * 4 // 5 if size == "all" else int(size)]] = True
    return part


def fit(
    x: Array, labels: Array, classes: int, rate: float, epochs: int, seed: int
) -> tuple[Array, Array]:
    """Train the layer; return weight (features, classes) and bias."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 1e-3, (x.shape[1], classes)).astype(np.float32)
    bias = np.zeros(classes, np.float32)
    steps = [(np.zeros_like(weight), weight), (np.zeros_like(bias), bias)]
    batches = ceil_div(len(x), BATCH_SIZE)
    for epoch in range(epochs):
        order = rng.permutation(len(x))
        for number in range(batches):
            batch = order[number * BATCH_SIZE : (number + 1) * BATCH_SIZE]
            kept = rng.random((len(batch), x.shape[1]), np.float32) >= DROPOUT
            inputs = x[batch] * kept / np.float32(1 - DROPOUT)
            dy = np.exp(log_probabilities(inputs @ weight + bias))
            dy[np.arange(len(batch)), labels[batch]] -= 1
            dy /= len(batch)
            done = (epoch * batches + number) / (epochs * batches)
            lr = np.float32(rate * (1 + np.cos(np.pi * done)) / 2)
            for (velocity, param), gradient in zip(steps, (inputs.T @ dy, dy.sum(0)), strict=True):
                velocity[...] = np.float32(0.9) * velocity + gradient
                param[...] -= lr * velocity
    return weight, bias


def score(weight: Array, bias: Array, x: Array, labels: Array) -> tuple[float, float]:
    """Return accuracy and mean cross-entropy."""
    logs = log_probabilities(x @ weight + bias)
    right = (logs.argmax(axis=1) == labels).mean()
    return float(right), float(-logs[np.arange(len(labels)), labels].mean())


def log_probabilities(logits: Array) -> Array:
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


if __name__ == "__main__":
    main()
