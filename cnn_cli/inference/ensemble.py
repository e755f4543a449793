"""Several networks as one classifier that averages their probabilities (Hansen and Salamon
1990).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from math import log
from pathlib import Path
from typing import Any

import numpy as np

from cnn_cli.closing import Closing
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.errors import DataError
from cnn_cli.inference.classifier import ONE_VIEW, Classifier, SeveralLabels
from cnn_cli.metric_names import find_class
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.loss import softplus
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array
from cnn_cli.runs.meta import split_rule
from cnn_cli.structs import as_dict

# The keys of `data` that determine which images are in a part.
DECIDES = {
    "all": ("root", "columns"),
    "test": ("root", "columns", "test_split", "group"),
    "val": ("root", "columns", "test_split", "group", "val_split", "fold"),
}


class Ensemble(Classifier):
    """Networks with the same classes and pixel preprocessing; mean, std, temperature and views may
    differ.

    Attributes that belong to one network, such as `graph` and `meta`, are those of the first.

    Attributes:
        path: the run of folds, or the first checkpoint.
        temperature: 1, since each network applies its own.
        several: the result of `SeveralLabels.mean`.
        members: the networks.
    """

    members: tuple[Classifier, ...] = ()

    @classmethod
    def of(cls, members: Sequence[Classifier], path: Path) -> Ensemble:
        """Create the ensemble of networks.

        Raises:
            DataError: one differs from the first in classes or preprocessing.
        """
        first = members[0]
        for other in members[1:]:
            _check_like(other, first)
        own: dict[str, Any] = {
            "path": path,
            "temperature": 1.0,
            "several": _several(members),
            "members": tuple(members),
        }
        return cls(**as_dict(first) | own)

    @property
    def networks(self) -> tuple[Classifier, ...]:
        return self.members

    @property
    def rejects(self) -> bool:
        return any(one.rejects for one in self.members)

    def digest(self) -> bytes:
        return b"".join(one.digest() for one in self.members)

    def scorer(
        self, threads: int, backend: str = "numpy", note: Callable[[str], None] = lambda _: None
    ) -> EnsembleEngine:
        return EnsembleEngine(self.members, threads, backend, note)

    def agrees_on(self, split: str) -> bool:
        keys = DECIDES.get(split, DECIDES["val"])
        told = [
            [split_rule(one.meta), *(getattr(one.config.data, key) for key in keys)]
            for one in self.members
        ]
        return all(other == told[0] for other in told[1:])


class EnsembleEngine(Closing):
    """The engines of several networks, which run one after another on the same threads.

    Attributes:
        graph: the graph of the first network.
        dtype: dtype of the scores.
        engines: the engines of the networks, for one view.

    Args:
        members: the networks.
        threads, backend, note: as in `Classifier.engine`.
    """

    def __init__(
        self,
        members: Sequence[Classifier],
        threads: int,
        backend: str,
        note: Callable[[str], None],
    ) -> None:
        self.graph = members[0].graph
        self.dtype = np.result_type(*(one.params.dtype for one in members))
        self._members = members
        self._orders = [_order(one.classes, members[0].classes) for one in members]
        self.engines: list[Engine] = []
        with ExitStack() as stack:
            for one in members:
                beside = self.engines[0] if self.engines else None
                engine = stack.enter_context(one.engine(threads, backend, note, beside))
                self.engines.append(engine)
            self._closing = stack.pop_all()
        self._scorers = {
            engine: one.over_views(engine)
            for one, engine in zip(members, self.engines, strict=True)
        }

    def predict(self, x: Array, params: Parameters | None = None) -> Array:
        """Return logits (n, classes) of the mean probabilities.

        With softmax these are log p; with several labels, log p - log(1 - p).

        Args:
            x: as in `Engine.predict`.
            params: must be None: each network has its own.
        """
        return self.mean(lambda engine: self._scorers[engine].predict(x))

    def mean(self, logits_of: Callable[[Engine], Array]) -> Array:
        """Average the logits (n, classes) that a function returns for each engine.

        Probabilities are added as logarithms, so that none underflows to 0.
        """
        totals: tuple[Array, ...] | None = None
        for one, engine, order in zip(self._members, self.engines, self._orders, strict=True):
            z = logits_of(engine).astype(self.dtype) / self.dtype.type(one.temperature)
            if one.several is None:
                z -= z.max(axis=1, keepdims=True)
                z -= np.log(np.exp(z).sum(axis=1, keepdims=True))
                logs: tuple[Array, ...] = (z,)
            else:
                # Logarithms of the probabilities of both answers.
                logs = -softplus(-z), -softplus(z)
            if order is not None:
                logs = tuple(each[:, order] for each in logs)
            totals = logs if totals is None else tuple(map(np.logaddexp, totals, logs))
        if totals is None:
            raise ValueError("an ensemble of no networks")
        if len(totals) == 2:
            return totals[0] - totals[1]
        mean: Array = totals[0] - self.dtype.type(log(len(self._members)))
        return mean

    def own_numbers(self, position: int, classes: Array) -> Array:
        """Return the class numbers that the network at that position uses for these classes."""
        order = self._orders[position]
        return classes if order is None else order[classes]

    def close(self) -> None:
        """End the threads and restore the number of BLAS threads."""
        self._closing.close()


def _order(classes: Sequence[str], wanted: Sequence[str]) -> Array | None:
    """Return the indices of the wanted classes; None if the order is the same."""
    numbers = [find_class(name, classes) for name in wanted]
    return None if numbers == list(range(len(wanted))) else np.array(numbers, np.int64)


def _several(members: Sequence[Classifier]) -> SeveralLabels | None:
    """Return how the networks together assign labels; None if each image has one."""
    classes, found = members[0].classes, []
    for one in members:
        if one.several is not None:
            order = _order(one.classes, classes)
            found.append(one.several if order is None else one.several.in_order(order.tolist()))
    return SeveralLabels.mean(found) if found else None


def class_of_one(model: Classifier, other: Classifier) -> str | None:
    """Return, for a message, a class that only one of two models has; None if there is none."""
    for one, than in ((model, other), (other, model)):
        for name in one.classes:
            if find_class(name, than.classes) is None:
                return f"'{name}' in {one.path} only"
    return None


def _check_like(other: Classifier, first: Classifier) -> None:
    if other.labels_kind != first.labels_kind:
        wanted = f"data.labels {first.labels_kind}, as {first.path}"
        rule = f"must be of {wanted}, which it is averaged with"
        raise DataError(other.path, rule, other.labels_kind)
    if (single := class_of_one(other, first)) is not None:
        raise DataError(other.path, f"must have the classes of {first.path}", single)
    if other.preprocess != first.preprocess:
        rule = f"must prepare images as {first.path} does"
        got = f"{_words(other.preprocess)}, not {_words(first.preprocess)}"
        raise DataError(other.path, rule, got)
    if other.decoding != first.decoding:
        rule = f"must decode images as {first.path} does, or --tta must be the same for all"
        got = f"tta {other.tta or ONE_VIEW}, not {first.tta or ONE_VIEW}"
        raise DataError(other.path, rule, got)


def _words(pre: Preprocess) -> str:
    """Return `28×28×1, crop`, with the depth if it is not 8."""
    depth = "" if pre.depth == 8 else f", depth {pre.depth}"
    return f"{pre.height}×{pre.width}×{pre.channels}, {pre.resize_mode}{depth}"
