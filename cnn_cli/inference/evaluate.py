"""Evaluate a whole split: for validation after each epoch, and for `cnn eval`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.dataset import Split
from cnn_cli.data.loader import Batch
from cnn_cli.inference.metrics import Confusion, label_ranks
from cnn_cli.inference.scorer import Scorer
from cnn_cli.inference.several_labels import LabelsEvaluation
from cnn_cli.nn.loss import cross_entropy, softmax, target_weights
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array
from cnn_cli.system import available_memory

Watch = Callable[[Iterator[Batch], int], Iterator[Batch]]
"""Passes batches on; receives the total number of images."""

SCORES = 6  # simultaneous arrays of a batch's size: loss, probabilities, ranks
RANKS = 4  # bytes per score for comparing with the label's score
BLOCK = 2**21  # logits processed at a time
MOST_KEPT = 2**28  # bytes of logits kept for metrics that need them


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The network's output for each readable image of a split, in the split's order.

    It takes a few numbers per image, whatever the number of classes.

    Attributes:
        classes: number of classes.
        labels: (n,) class numbers.
        indices: (n,) positions in the split.
        losses: (n,) cross-entropy, without smoothing or class weights.
        squared_errors: (n,) squared errors of the probabilities, summed over the classes.
        label_probabilities: (n,) probability of the image's class.
        label_ranks: (n,) see `metrics.label_ranks`.
        guesses, confidences: (n,) the most probable class and its probability; for scores that are
            not finite, a wrong class and NaN.
        seconds, second_probabilities: (n,) the second most probable class and its probability.
        logits: (n, classes), before division by the temperature; kept only on request.
        temperature: divisor of the logits for everything above.
    """

    classes: int
    labels: Array
    indices: Array
    losses: Array
    squared_errors: Array
    label_probabilities: Array
    label_ranks: Array
    guesses: Array
    confidences: Array
    seconds: Array
    second_probabilities: Array
    logits: Array | None = None
    temperature: float = 1.0

    @classmethod
    def of(
        cls, logits: Array, labels: Array, indices: Array, temperature: float = 1.0
    ) -> Evaluation:
        """Evaluate the logits of some images.

        Args:
            logits: (n, classes), with at least two classes.
            labels, indices: as in `Evaluation`.
            temperature: divisor of the logits, see `calibration`.
        """
        rows = np.arange(len(labels))
        with np.errstate(over="ignore", invalid="ignore"):  # overflow shows in the loss
            scaled = logits if temperature == 1 else logits / temperature
            losses, probabilities = _losses(scaled, labels), softmax(scaled)
        own, ranks = probabilities[rows, labels], label_ranks(probabilities, labels)
        squares = np.einsum("nk,nk->n", probabilities, probabilities)
        guesses = probabilities.argmax(axis=1)
        confidences = probabilities[rows, guesses]
        none = np.isnan(confidences)  # no class is the most probable one, which is a mistake
        ranks[none], guesses[none] = logits.shape[1], (labels[none] + 1) % logits.shape[1]
        probabilities[rows, guesses] = -np.inf
        seconds = probabilities.argmax(axis=1)
        return cls(
            classes=logits.shape[1],
            labels=labels,
            indices=indices,
            losses=losses,
            squared_errors=squares - own**2 + (1 - own) ** 2,
            label_probabilities=own,
            label_ranks=ranks,
            guesses=guesses,
            confidences=confidences,
            seconds=seconds,
            second_probabilities=probabilities[rows, seconds],
            temperature=temperature,
        )

    @property
    def loss(self) -> float:
        """The mean loss; NaN without images."""
        return float(self.losses.mean(dtype=np.float64)) if len(self.losses) else float("nan")

    @property
    def right(self) -> Array:
        """(n,) whether the top-1 prediction is correct."""
        hits: Array = self.guesses == self.labels
        return hits

    @property
    def top1(self) -> float:
        """Top-1 accuracy, from 0 to 1; NaN without images."""
        return float(self.right.mean()) if len(self.labels) else float("nan")

    @property
    def confusion(self) -> Confusion:
        """The confusion matrix."""
        return Confusion.of(self.labels, self.guesses, self.classes)

    @property
    def totals(self) -> Array:
        """(3,): summed loss, number of correct top-1 predictions, and number of images.

        The totals of the parts of a split add up to those of the whole.
        """
        return np.array([self.losses.sum(dtype=np.float64), self.right.sum(), len(self.labels)])

    @classmethod
    def joined(cls, parts: Sequence[Evaluation]) -> Evaluation:
        """Concatenate evaluations of the parts of a split."""
        parts = [part for part in parts if len(part.labels)] or parts[:1]
        if len(parts) == 1:
            return parts[0]
        arrays = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in _NUMBERS
        }
        kept = [part.logits for part in parts if part.logits is not None]
        logits = np.concatenate(kept) if len(kept) == len(parts) else None
        return cls(parts[0].classes, logits=logits, temperature=parts[0].temperature, **arrays)

    def at(self, rows: Array, with_logits: bool = True) -> Evaluation:
        """Select images, possibly repeated.

        Args:
            rows: positions in these arrays.
            with_logits: keep the logits if there are any.
        """
        arrays = {name: getattr(self, name)[rows] for name in _NUMBERS}
        logits = self.logits[rows] if with_logits and self.logits is not None else None
        return replace(self, logits=logits, **arrays)

    def with_logits(self, logits: Array) -> Evaluation:
        """Return a copy with its logits, (n, classes)."""
        return replace(self, logits=logits)

    def at_temperature(self, temperature: float) -> Evaluation:
        """Evaluate again with the logits divided by a temperature.

        Raises:
            ValueError: the logits were not kept.
        """
        if temperature == self.temperature or len(self.labels) == 0:
            return self
        if self.logits is None:
            raise ValueError("evaluated without keep_logits")
        parts = [
            Evaluation.of(self.logits[at], self.labels[at], self.indices[at], temperature)
            for at in row_blocks(*self.logits.shape)
        ]
        return replace(Evaluation.joined(parts), logits=self.logits)

    def probabilities_by_class(self) -> Iterator[Array]:
        """Yield the probabilities (n,) of one class after another.

        Raises:
            ValueError: the logits were not kept.
        """
        if self.logits is None:
            raise ValueError("evaluated without keep_logits")
        n, classes = self.logits.shape
        largest, total = np.empty((2, n), self.logits.dtype)
        for at in row_blocks(n, classes):
            scaled = self._scaled(self.logits[at])
            largest[at] = scaled.max(axis=1)
            total[at] = np.exp(scaled - largest[at, None]).sum(axis=1)
        for columns in row_blocks(classes, max(n, 1)):
            scaled = self._scaled(np.ascontiguousarray(self.logits[:, columns].T))
            yield from np.exp(scaled - largest) / total

    def _scaled(self, logits: Array) -> Array:
        return logits if self.temperature == 1 else logits / self.temperature


AnyEvaluation = Evaluation | LabelsEvaluation

_OTHERS = ("classes", "logits", "temperature")
_NUMBERS = tuple(each.name for each in fields(Evaluation) if each.name not in _OTHERS)


def evaluation_bytes(
    classes: int, images: int, batch_size: int, itemsize: int, *, keep_logits: bool = False
) -> int:
    """Return the bytes that `evaluate` takes besides the network: scores of a batch, and what is
    kept.

    Args:
        classes: number of classes.
        images: number of images of the split.
        batch_size: number of images per batch.
        itemsize: bytes per score.
        keep_logits: the scores of all images are kept as well.
    """
    scores = min(batch_size, images) * classes * (SCORES * itemsize + RANKS)
    kept = images * classes * itemsize if keep_logits else 0
    return scores + images * len(_NUMBERS) * 8 + kept


def logits_can_be_kept(nbytes: int) -> bool:
    """Whether logits of that many bytes are kept for metrics that need them."""
    return nbytes <= min(MOST_KEPT, available_memory())


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Split an array into blocks of rows with at most `BLOCK` values, or one row each."""
    step = max(1, BLOCK // columns)
    for start in range(0, rows, step):
        yield slice(start, start + step)


class Batches(Protocol):
    """What gives a split's images: a loader, or the features of them that are kept."""

    split: Split

    def batches(self, order: NDArray[np.int64]) -> Iterator[Batch]:
        """See `Loader.batches`."""


def evaluate(
    scorer: Scorer,
    loader: Batches,
    params: Parameters | None = None,
    places: slice = slice(None),
    watch: Watch | None = None,
    temperature: float = 1.0,
    keep_logits: bool = False,
) -> Evaluation:
    """Evaluate the network on a split, or on a part of it.

    Args:
        scorer: scores the images.
        loader: the loader of the split, which decodes images for the scorer; unreadable ones are
            listed in `loader.bad`.
        params: parameters to use instead of the engine's, such as averaged ones.
        places: the part of the split.
        watch: displays progress.
        temperature: divisor of the logits.
        keep_logits: keep the logits of all images.
    """
    classes = scorer.graph.classes
    nothing = np.empty(0, np.int64)
    parts = [Evaluation.of(np.empty((0, classes), scorer.dtype), nothing, nothing)]
    images = len(range(len(loader.split))[places])
    kept = np.empty((images, classes), scorer.dtype) if keep_logits else None
    done = 0
    for batch, logits in _scored(scorer, loader, params, places, watch):
        if kept is not None:
            kept[done : done + len(logits)] = logits
            done += len(logits)
        parts.append(Evaluation.of(logits, batch.labels, batch.indices, temperature))
    return replace(Evaluation.joined(parts), logits=None if kept is None else kept[:done])


def evaluate_labels(
    scorer: Scorer,
    loader: Batches,
    params: Parameters | None = None,
    places: slice = slice(None),
    watch: Watch | None = None,
    temperature: float = 1.0,
) -> LabelsEvaluation:
    """Evaluate the network on a split with several labels per image, or on a part of it.

    The logits of all images are kept. The arguments are those of `evaluate`.
    """
    classes = scorer.graph.classes
    nothing, none = np.empty((0, classes), scorer.dtype), np.empty(0, np.int64)
    parts = [LabelsEvaluation.of(nothing, nothing.astype(np.uint8), none, temperature)]
    for batch, logits in _scored(scorer, loader, params, places, watch):
        parts.append(LabelsEvaluation.of(logits.copy(), batch.labels, batch.indices, temperature))
    return LabelsEvaluation.joined(parts)


def _scored(
    scorer: Scorer,
    loader: Batches,
    params: Parameters | None,
    places: slice,
    watch: Watch | None,
) -> Iterator[tuple[Batch, Array]]:
    """Yield each batch with its logits, which are valid until the next batch."""
    order = np.arange(len(loader.split))[places]
    batches = loader.batches(order)
    if watch is not None:
        batches = watch(batches, len(order))
    for batch in batches:
        with np.errstate(over="ignore", invalid="ignore"):  # overflow shows in the loss
            logits = scorer.predict(batch.images, params)
        yield batch, logits


def _losses(logits: Array, labels: Array) -> Array:
    targets, _ = target_weights(labels, logits.shape[1], dtype=logits.dtype)
    losses = np.empty(len(labels), logits.dtype)
    cross_entropy(logits, targets, losses)
    return losses
