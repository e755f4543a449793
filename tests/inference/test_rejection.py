"""The distance of Lee et al. 2018, against its formula."""

from __future__ import annotations

import numpy as np

from cnn_cli.inference.rejecting import RejectingScorer
from cnn_cli.inference.rejection import Rejection


def test_distance_is_the_formula_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    d, classes = 4, 3
    means = rng.normal(size=(classes, d))
    root = rng.normal(size=(d, d))
    covariance = root @ root.T + np.eye(d)
    variances, directions = np.linalg.eigh(covariance)
    whitening = directions / np.sqrt(variances)
    found = Rejection(means @ whitening, whitening, 1.0, 0.05, 1, 0)
    features = rng.normal(size=(5, d))
    precision = np.linalg.inv(covariance)
    expected = [min(float((f - mean) @ precision @ (f - mean)) for mean in means) for f in features]
    np.testing.assert_allclose(found.distances(features), expected, rtol=1e-10)
    multiples = Rejection(means @ whitening, whitening, 2.5, 0.05, 1, 0).in_bounds(features)
    np.testing.assert_allclose(multiples**2, np.array(expected) / 2.5, rtol=1e-10)


def test_a_bound_of_zero_accepts_the_means_only() -> None:
    found = Rejection(np.eye(2), np.eye(2), 0.0, 0.05, 1, 0)
    assert found.in_bounds(np.array([[1.0, 0.0], [1.0, 0.5]])).tolist() == [0.0, np.inf]


def test_what_is_not_a_number_is_rejected() -> None:
    """It is in no bounds."""
    scorer = RejectingScorer.__new__(RejectingScorer)
    scorer.distances = np.array([0.5, 1.5, np.nan])
    assert scorer.rejected.tolist() == [False, True, True]
