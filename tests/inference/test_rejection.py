"""The distance of Lee et al. 2018, against its formula."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cnn_cli.inference import rejecting
from cnn_cli.inference.rejecting import RejectingEnsemble, RejectingScorer, learn_rejection
from cnn_cli.inference.rejection import Rejection
from cnn_cli.nn.types import Array


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


def test_several_networks_reject_by_the_mean_of_their_distances() -> None:
    together: Any = RejectingEnsemble.__new__(RejectingEnsemble)
    together._scorers = {
        number: SimpleNamespace(distances=np.array(distances))
        for number, distances in enumerate([[0.5, 1.2, np.nan], [1.2, 0.9, 0.1]])
    }
    assert together.rejected.tolist() == [False, True, True]


class Images:
    """Features in place of images."""

    def __init__(self, n: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.labels = np.arange(n) % 3
        mixed = rng.normal(size=(n, 4)) @ rng.normal(size=(4, 4))
        self.features = mixed + 5 * np.eye(4)[self.labels]

    def __len__(self) -> int:
        return len(self.labels)


def test_what_is_learned_is_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Class means and a shared covariance, with a ridge of a thousandth of the mean variance."""

    def features(_: Any, __: Any, images: Images, rows: Array, ___: int) -> Iterator[Any]:
        for part in np.array_split(rows, 2):
            yield images.features[part], images.labels[part]

    monkeypatch.setattr(rejecting, "_features", features)
    monkeypatch.setattr(rejecting, "Embedder", lambda *_: SimpleNamespace(tensor=0))
    network: Any = SimpleNamespace(
        path="m.npz",
        classes=("a", "b", "c"),
        graph=SimpleNamespace(shape=lambda _: (4,)),
        engine=lambda *_: nullcontext(),
    )
    train, val = Images(60, 0), Images(40, 1)
    found = learn_rejection(network, train, val, 0.1, 1, "numpy")  # type: ignore[arg-type]  # stand-ins
    x, labels = train.features, train.labels
    means = np.stack([x[labels == k].mean(axis=0) for k in range(3)])
    covariance = sum(np.cov(x[labels == k].T, bias=True) for k in range(3)) / 3
    precision = np.linalg.inv(covariance + 1e-3 * np.trace(covariance) / 4 * np.eye(4))
    away = val.features[:, None] - means
    expected = np.einsum("nki,ij,nkj->nk", away, precision, away).min(axis=1)
    np.testing.assert_allclose(found.distances(val.features), expected, rtol=1e-4)
    assert found.bound == pytest.approx(np.sort(expected)[36], rel=1e-4)  # at least 90 % of 40
    assert (found.share, found.images, found.refused) == (0.1, 40, 3)
