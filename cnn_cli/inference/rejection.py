"""Reject images of unknown classes by the distance of their features from all classes.

The input of the last layer is modeled as a normal distribution per class, with separate means and a
shared covariance. The distance of an image is its Mahalanobis distance to the nearest mean (Lee et
al. 2018, section 2.1, without input perturbation). Means and covariance come from training images.
The bound is the distance that a given fraction of the validation images exceeds; images beyond it
are rejected. `rejecting` has the engines that do it, and estimates distribution and bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cnn_cli.errors import DataError
from cnn_cli.nn.types import Array
from cnn_cli.structs import Struct

REJECTION = "rejection"  # its key in a checkpoint's metadata, and the group of its arrays


class Rejection(Struct, eq=False):
    """Which images are rejected.

    Attributes:
        means: (classes, d) whitened class means of the features.
        whitening: (d, d): features times this matrix have unit covariance.
        bound: the largest squared distance that is accepted.
        share: the requested fraction of rejected validation images.
        images, refused: number of validation images, and of the rejected ones among them.
    """

    means: Array
    whitening: Array
    bound: float
    share: float
    images: int
    refused: int

    @classmethod
    def stored(
        cls, meta: Mapping[str, Any], arrays: Mapping[str, Array], classes: int, place: str
    ) -> Rejection:
        """Read from a checkpoint.

        Raises:
            DataError: it is damaged.
        """
        means, whitening = arrays.get("means"), arrays.get("whitening")
        found = meta.get(REJECTION)
        fits = (
            means is not None
            and whitening is not None
            and means.ndim == 2
            and whitening.shape == (means.shape[1],) * 2
            and len(means) == classes
            and np.isfinite(means).all()
            and np.isfinite(whitening).all()
            and isinstance(found, dict)
            and all(isinstance(found.get(key), int | float) for key in FACTS)
        )
        if not fits or means is None or whitening is None or found is None:
            raise DataError(place, f"{REJECTION} must be what cnn eval --reject stores")
        return cls(means, whitening, *(found[key] for key in FACTS))

    def as_meta(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in FACTS}

    def arrays(self) -> dict[str, Array]:
        return {"means": self.means, "whitening": self.whitening}

    def distances(self, features: Array) -> Array:
        """Return (n,) squared distances of features (n, d) from the nearest class."""
        white = features.astype(np.float64) @ self.whitening.astype(np.float64)
        nearest = np.full(len(white), np.inf)
        for mean in self.means.astype(np.float64):
            np.minimum(nearest, ((white - mean) ** 2).sum(axis=1), out=nearest)
        return nearest

    def in_bounds(self, features: Array) -> Array:
        """Return (n,) distances of features (n, d), not squared, as multiples of the bound."""
        squared = self.distances(features)
        # The bound is 0 if all validation images have the features of a class's mean.
        beyond = np.where(squared > self.bound, np.inf, 0.0)
        ratios = np.divide(squared, self.bound, out=beyond, where=self.bound > 0)
        distances: Array = np.sqrt(ratios)
        return distances


FACTS = ("bound", "share", "images", "refused")
