"""Engines that also reject images, and the estimation of a `Rejection`.

If a network predicts with several views of an image, its features are the mean of theirs. Several
networks reject together: the bound of each is the unit of its distances, and an image is rejected
if the mean of its distances is above 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cnn_cli.closing import Closing
from cnn_cli.errors import DataError
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.embedding import Embedder
from cnn_cli.inference.ensemble import Ensemble, EnsembleEngine
from cnn_cli.inference.rejection import REJECTION, Rejection
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.types import Array

if TYPE_CHECKING:
    from cnn_cli.data.dataset import Split
    from cnn_cli.data.depth import Pixels
    from cnn_cli.data.views import Views

MOST_FEATURES = 4096  # largest size of the covariance
MOST_IMAGES = 20_000  # used to estimate means and covariance
RIDGE = 1e-3  # fraction of the mean variance that is added to each variance
BATCH = 64


class RejectingScorer(Closing):
    """An engine that also tells which images are rejected, in one forward pass.

    Attributes:
        distances: (n,) of the images of the last call, as multiples of the bound.

    Args:
        classifier: a classifier with rejection.
        engine: its engine, closed with this one.
    """

    def __init__(self, classifier: Classifier, engine: Engine) -> None:
        if classifier.rejection is None:
            raise ValueError("a classifier without a rejection")
        self.distances = np.zeros(0)
        self._rejection = classifier.rejection
        self._engine = engine
        self._scorer = classifier.over_views(engine)
        self._views = classifier.views
        self._embed = Embedder(classifier, engine, None)
        last = classifier.graph.nodes[-1]
        self._linear: tuple[Array, Array] | None = None
        if last.layer.kind == "linear" and last.inputs == (self._embed.tensor,):
            named = classifier.params.named()
            bias = named.get(f"{last.name}/bias", np.zeros(len(classifier.classes), np.float32))
            self._linear = named[f"{last.name}/weight"].T, bias

    @property
    def rejected(self) -> NDArray[np.bool_]:
        """(n,) of the images of the last call."""
        return ~(self.distances <= 1)  # not a number is beyond all bounds

    def predict(self, x: Array) -> Array:
        """Return logits (n, classes) of images (n, h, w, c)."""
        features = _mean_features(self._embed, x, self._views)
        if features.shape[1] != len(self._rejection.whitening):
            raise DataError(REJECTION, f"must be for the network's {features.shape[1]:,} features")
        self.distances = self._rejection.in_bounds(features)
        if self._linear is None:  # other layers follow the last one with weights
            return self._scorer.predict(x)
        weight, bias = self._linear
        logits: Array = features.astype(weight.dtype) @ weight + bias
        return logits

    def close(self) -> None:
        self._engine.close()


class RejectingEnsemble(Closing):
    """The engines of several networks, which reject images together.

    Args:
        members: the networks, all with rejection.
        engine: their engines, closed with this one.
    """

    def __init__(self, members: Sequence[Classifier], engine: EnsembleEngine) -> None:
        self._engine = engine
        self._scorers = {
            own: RejectingScorer(one, own) for one, own in zip(members, engine.engines, strict=True)
        }

    @property
    def rejected(self) -> NDArray[np.bool_]:
        """(n,) of the images of the last call."""
        distances = [one.distances for one in self._scorers.values()]
        beyond: NDArray[np.bool_] = ~(np.mean(distances, axis=0) <= 1)
        return beyond

    def predict(self, x: Array) -> Array:
        """Return logits (n, classes) of the mean probabilities, as `EnsembleEngine.predict`."""
        return self._engine.mean(lambda engine: self._scorers[engine].predict(x))

    def close(self) -> None:
        self._engine.close()


Rejecting = RejectingScorer | RejectingEnsemble


def open_rejecting(
    classifier: Classifier, threads: int, backend: str, note: Callable[[str], None]
) -> Rejecting:
    """Create the engine of a classifier that rejects images; close it when done.

    Args:
        threads, backend, note: as in `Classifier.scorer`.

    Raises:
        DataError: some of its networks reject images, and others do not.
    """
    rejects = next(one for one in classifier.networks if one.rejects)
    for one in classifier.networks:
        if not one.rejects:
            rule = f"must refuse images (cnn eval --calibrate --reject) as {rejects.path} does"
            raise DataError(one.path, f"{rule}, which it is averaged with")
    if isinstance(classifier, Ensemble):
        return RejectingEnsemble(classifier.members, classifier.scorer(threads, backend, note))
    return RejectingScorer(classifier, classifier.engine(threads, backend, note))


def learn_rejection(
    classifier: Classifier, train: Split, val: Split, share: float, threads: int, backend: str
) -> Rejection:
    """Estimate the rejection.

    Args:
        classifier: one network.
        train: images for means and covariance; at most 20,000 are used.
        val: images of which a fraction is to be rejected.
        share: that fraction, between 0 and 1.
        threads, backend: as in `Classifier.engine`.

    Raises:
        DataError: the last layer has too many inputs, or too few images are readable.
    """
    with classifier.engine(threads, backend) as engine:
        embed = Embedder(classifier, engine, None)
        shape = classifier.graph.shape(embed.tensor)
        count = int(np.prod(shape))
        if count > MOST_FEATURES:
            rule = f"--reject needs a last layer of at most {MOST_FEATURES:,} features"
            raise DataError(classifier.path, rule, f"{count:,}")
        rows = np.unique(np.linspace(0, len(train) - 1, MOST_IMAGES).astype(np.int64))
        found = list(_features(classifier, embed, train, rows, threads))
        features = np.concatenate([each for each, _ in found]).astype(np.float64)
        labels = np.concatenate([each for _, each in found])
        checked = _features(classifier, embed, val, np.arange(len(val)), threads)
        others = np.concatenate([each for each, _ in checked])
    counts = np.bincount(labels, minlength=len(classifier.classes))
    for number in np.flatnonzero(counts == 0):
        rule = f"--reject needs training images of '{classifier.classes[number]}'"
        raise DataError(classifier.path, rule, "none that can be read")
    means = np.stack([features[labels == k].mean(axis=0) for k in range(len(counts))])
    centered = features - means[labels]
    covariance = centered.T @ centered / len(centered)
    variances, directions = np.linalg.eigh(covariance)
    ridge = max(RIDGE * float(variances.mean()), float(np.finfo(np.float32).tiny))
    whitening = (directions / np.sqrt(variances.clip(min=0) + ridge)).astype(np.float32)
    white = (means @ whitening.astype(np.float64)).astype(np.float32)
    learnt = Rejection(white, whitening, np.inf, share, len(others), 0)
    distances = learnt.distances(others)
    bound = float(np.quantile(distances, 1 - share, method="higher"))
    refused = int((distances > bound).sum())
    return Rejection(white, whitening, bound, share, len(others), refused)


def _features(
    classifier: Classifier, embed: Embedder, images: Split, rows: Array, threads: int
) -> Iterator[tuple[Array, Array]]:
    """Yield features and labels of batches of images; unreadable ones are left out."""
    from cnn_cli.data.cache import ImageCache
    from cnn_cli.data.loader import Loader

    cache = ImageCache.open("none", images.paths, classifier.decoding)
    for batch in Loader(images, cache, BATCH, threads).batches(rows):
        if len(batch.labels):
            yield _mean_features(embed, batch.images, classifier.views), batch.labels


def _mean_features(embed: Embedder, images: Pixels, views: Views | None) -> Array:
    """Return features (n, d) of images (n, h, w, c), averaged over their views.

    As the last layer is linear, it maps them to the mean of the views' logits.
    """
    return embed(images) if views is None else views.mean(images, embed)
