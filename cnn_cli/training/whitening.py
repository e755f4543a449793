"""Initialize a first convolution so that its filters whiten the patches of training images.

arXiv:2404.00498, section 3.1, after D. Page 2018: the filters are the eigenvectors of the patches'
second moments, each divided by the root of its eigenvalue, followed by the same with opposite sign,
so that a ReLU after them loses nothing.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.loader import Loader
from cnn_cli.data.normalization import Normalization
from cnn_cli.nn.layers.base import ParamSpec
from cnn_cli.nn.params import Parameters, to_torch
from cnn_cli.nn.types import Array, Shape
from cnn_cli.rng import Purpose, generator

IMAGES = 5000


def whiten(
    params: Parameters,
    loader: Loader,
    normalization: Normalization,
    seed: int,
    among: NDArray[np.int64],
) -> None:
    """Set the weights of convolutions with `init: whitening`.

    Args:
        params: the parameters to set.
        loader: the loader of training images; up to 5,000 are read as in the first epoch.
        normalization: the normalization of pixels.
        seed: selects the images.
        among: positions in the split to select from.
    """
    order = among[generator(seed, Purpose.SHUFFLE, 0, 2).permutation(len(among))]
    for node in params.graph.nodes:
        for spec in node.layer.params:
            if spec.init == "whitening":
                moments = _patch_moments(
                    spec.torch_shape[1:], loader, normalization, order[:IMAGES]
                )
                weight = to_torch(params.views[node.index][spec.name], spec)
                weight[...] = whitening_filters(moments, spec)
    params.touch()


def whitening_filters(moments: Array, spec: ParamSpec) -> Array:
    """Return whitening filters for patches with the given second moments.

    Args:
        moments: (f, f), where f runs over channels, rows and columns of a patch in this order.
        spec: the spec of the weight.

    Returns:
        (out, in, kh, kw): the directions of largest moments first, then their negatives.
    """
    values, vectors = np.linalg.eigh(moments)
    half = spec.torch_shape[0] // 2
    largest = slice(None, -half - 1, -1)
    filters = vectors.T[largest] / np.sqrt(values[largest, None] + spec.init_eps)
    both: Array = np.concatenate([filters, -filters]).reshape(spec.torch_shape)
    return both


def _patch_moments(
    patch: Shape, loader: Loader, normalization: Normalization, indices: NDArray[np.int64]
) -> Array:
    """Return the mean of x·xᵀ over all patches x, (channels, rows, columns), of some images."""
    size = prod(patch)
    total, count = np.zeros((size, size)), 0
    scale, shift = normalization.scale_and_shift()
    for batch in loader.batches(indices):
        images = batch.images * scale + shift
        windows = np.lib.stride_tricks.sliding_window_view(images, patch[1:], axis=(1, 2))
        patches = windows.reshape(-1, size)
        total += patches.T @ patches
        count += len(patches)
    return total / max(count, 1)
