"""The sampler: which training images an epoch takes, in which order."""

from __future__ import annotations

from typing import Literal

import numpy as np

from cnn_cli.arithmetic import ceil_div
from cnn_cli.data.dataset import Indices
from cnn_cli.data.targets import Labels

Sampler = Literal["shuffle", "balanced"]


def draw_order(labels: Labels, sampler: Sampler, rng: np.random.Generator) -> Indices:
    """Return the positions of an epoch's images: as many as there are images.

    Args:
        labels: (n,) class numbers of the images.
        sampler: `shuffle` takes each image once. `balanced` takes equally many of each class:
            images of small classes repeat, equally often up to one, and some of large classes are
            left out.
        rng: the generator of this epoch.
    """
    n = len(labels)
    if sampler == "shuffle" or n == 0:
        return rng.permutation(n)
    classes = np.unique(labels)
    counts = np.full(len(classes), n // len(classes))
    counts[rng.permutation(len(classes))[: n % len(classes)]] += 1
    parts = []
    for name, count in zip(classes, counts, strict=True):
        members = np.flatnonzero(labels == name)
        rounds = [rng.permutation(members) for _ in range(ceil_div(count, len(members)))]
        parts.append(np.concatenate(rounds)[:count] if rounds else members[:0])
    return rng.permutation(np.concatenate(parts))
