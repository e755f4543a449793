"""A trained network with all it needs to name what is in a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn_cli.data.decode import Preprocess
from cnn_cli.data.normalization import Normalization
from cnn_cli.data.targets import NONE
from cnn_cli.errors import DataError, size_text
from cnn_cli.nn.backends import open_kernels
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.loss import sigmoid, softmax
from cnn_cli.nn.memory import parameter_count
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array
from cnn_cli.runs.checkpoint import holds_folds, load_checkpoint, resolve_checkpoint
from cnn_cli.runs.meta import SEVERAL
from cnn_cli.runs.stored_network import stored_config, stored_network
from cnn_cli.structs import Struct
from cnn_cli.system import available_memory

if TYPE_CHECKING:
    from cnn_cli.config import Config
    from cnn_cli.inference.ensemble import EnsembleEngine
    from cnn_cli.inference.rejection import RejectingScorer, Rejection


Labels = tuple[tuple[str, float], ...]
REJECTION = "rejection"  # the group of arrays, see `rejection`


class SeveralLabels(Struct):
    """How an image is given its labels.

    Attributes:
        separator: what stands between them in texts: `data.label_sep`.
        thresholds: of each class: the least probability of its label.
    """

    separator: str
    thresholds: tuple[float, ...]

    @classmethod
    def stored(cls, meta: Mapping[str, Any]) -> SeveralLabels | None:
        """Those of a checkpoint; None where each image has one label."""
        found = meta.get(SEVERAL)
        return None if found is None else cls(found["separator"], tuple(found["thresholds"]))

    @classmethod
    def mean(cls, several: Sequence[SeveralLabels]) -> SeveralLabels:
        """Of networks whose answers are averaged: with the mean of their thresholds.

        An image then has the labels whose probabilities are above their thresholds on average.
        """
        thresholds = np.mean([each.thresholds for each in several], axis=0)
        return cls(several[0].separator, tuple(thresholds.tolist()))

    def in_order(self, order: Sequence[int]) -> SeveralLabels:
        """The same of classes in another order: at each place, the number that a class has here."""
        return SeveralLabels(self.separator, tuple(self.thresholds[i] for i in order))

    def as_meta(self) -> dict[str, Any]:
        return {"separator": self.separator, "thresholds": list(self.thresholds)}

    def of(self, probabilities: Array, least: float = 0.0) -> list[int]:
        """The labels of an image by number, the likeliest first.

        Args:
            probabilities: (classes,).
            least: that a label must have besides.
        """
        reached = (probabilities >= np.array(self.thresholds)) & (probabilities >= least)
        numbers = np.flatnonzero(reached)
        order = numbers[np.argsort(-probabilities[numbers], kind="stable")]
        return [int(number) for number in order]

    def text(self, labels: Sequence[str]) -> str:
        """Labels as a list has them."""
        return self.separator.join(labels) or NONE


class Classifier(Struct):
    """What a checkpoint holds for evaluation and prediction.

    Attributes:
        path: the checkpoint's file.
        meta: the checkpoint's document.
        config: that it was trained with, read when it is asked for.
        params: the weights and statistics that are evaluated.
        temperature: that logits are divided by, of `cnn eval --calibrate`; 1 without.
        several: how an image is given several labels; None where each has one.
        rejection: which images are refused; None where none are.
    """

    path: Path
    meta: dict[str, Any]
    classes: tuple[str, ...]
    preprocess: Preprocess
    normalization: Normalization
    graph: Graph
    params: Parameters
    temperature: float
    several: SeveralLabels | None = None
    rejection: Rejection | None = None

    @classmethod
    def load(cls, path: str | Path) -> Classifier:
        """Read an `.npz`, or a run folder's best one.

        Raises:
            DataError: it is absent, damaged, or does not fit its own config.
        """
        file = resolve_checkpoint(Path(path))
        checkpoint = load_checkpoint(file, ("model", "ema", "precise_bn", REJECTION))
        meta = checkpoint.meta
        preprocess = Preprocess(**meta["preprocess"])
        classes = tuple(meta["classes"])
        graph, dtype = stored_network(meta, str(file))
        _check_memory(graph, dtype, str(file))
        params = Parameters(graph, dtype)
        # Averaged weights stand in for the trained ones, statistics estimated for evaluation for
        # the running ones.
        arrays: dict[str, Array] = {}
        for group in ("model", "ema", "precise_bn"):
            arrays |= checkpoint.groups.get(group, {})
        params.load(arrays, str(file))
        normalization = Normalization.stored(meta)
        temperature = meta.get("calibration", {}).get("temperature", 1.0)
        rejection = None
        if REJECTION in checkpoint.groups:
            from cnn_cli.inference.rejection import Rejection

            arrays = checkpoint.groups[REJECTION]
            rejection = Rejection.stored(meta, arrays, len(classes), str(file))
        return cls(
            file,
            meta,
            classes,
            preprocess,
            normalization,
            graph,
            params,
            temperature,
            SeveralLabels.stored(meta),
            rejection,
        )

    @cached_property
    def config(self) -> Config:
        return stored_config(self.meta, str(self.path))

    def digest(self) -> bytes:
        """A hash of all that an answer depends on."""
        import hashlib  # with OpenSSL, for which a prediction has no time

        told = [self.classes, self.preprocess, self.normalization, self.temperature]
        told += [] if self.several is None else [self.several]
        told += [] if self.rejection is None else [self.rejection.as_meta()]
        digest = hashlib.blake2b(repr(told).encode(), digest_size=16)
        for array in (self.params.flat, self.params.flat_buffers):
            digest.update(array.data)
        return digest.digest()

    @property
    def labels_kind(self) -> str:
        """Its `data.labels`."""
        return "single" if self.several is None else "multiple"

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Of the classes; none where each image has one label."""
        return () if self.several is None else self.several.thresholds

    @property
    def networks(self) -> tuple[Classifier, ...]:
        """Those whose probabilities are averaged; one alone."""
        return (self,)

    def agrees_on(self, split: str) -> bool:
        """Whether a part of its own images is the same for all of its networks."""
        return True

    def rejecting(
        self, threads: int, backend: str, note: Callable[[str], None]
    ) -> RejectingScorer | None:
        """What gives scores and says which images it refuses; None where none are.

        Args:
            threads, backend, note: of `scorer`.
        """
        if self.rejection is None:
            return None
        from cnn_cli.inference.rejection import RejectingScorer

        return RejectingScorer(self, threads, backend, note)

    def scorer(
        self, threads: int, backend: str = "numpy", note: Callable[[str], None] = lambda _: None
    ) -> Engine | EnsembleEngine:
        """What gives the scores of all networks together; close it when done.

        Args:
            threads: workers.
            backend, note: of `open_kernels`.
        """
        return self.engine(threads, backend, note)

    def engine(
        self,
        threads: int,
        backend: str = "numpy",
        note: Callable[[str], None] = lambda _: None,
        beside: Engine | None = None,
    ) -> Engine:
        """An engine for predicting; close it when done.

        Args:
            threads, backend, note: of `scorer`.
            beside: see `Engine`.
        """
        scale, shift = self.normalization.scale_and_shift()
        kernels = open_kernels(backend, self.graph, str(self.params.dtype), note)
        return Engine(
            self.graph,
            self.params,
            threads=threads,
            scale=scale,
            shift=shift,
            scale_floats=self.normalization.depth == "float",
            kernels=kernels,
            beside=beside,
        )

    def probabilities(self, logits: Array) -> Array:
        """(n, classes) of logits (n, classes), calibrated where the checkpoint is.

        Those of an image add up to 1, or stand each for itself where it may have several labels.
        """
        scaled = logits if self.temperature == 1 else logits / self.temperature
        return softmax(scaled) if self.several is None else sigmoid(scaled)

    def labels(self, probabilities: Array, least: float = 0.0) -> Labels | None:
        """The labels of an image and their probabilities, the likeliest first; None where each
        image has one.

        Args:
            probabilities: (classes,).
            least: that a label must have, besides what its threshold asks for.
        """
        if self.several is None:
            return None
        numbers = self.several.of(probabilities, least)
        return tuple((self.classes[i], round(float(probabilities[i]), 8)) for i in numbers)

    def label_text(self, labels: Sequence[str]) -> str | None:
        """Several labels as a list has them."""
        return None if self.several is None else self.several.text(labels)


def open_classifier(paths: Sequence[str | Path]) -> Classifier:
    """The network of one checkpoint, or those of several, or of a run of folds, as one classifier.

    Args:
        paths: at least one, see `Classifier.load` and `ensemble.Ensemble.open`.

    Raises:
        DataError: one cannot be read, or they do not go together.
    """
    if len(paths) == 1 and not holds_folds(paths[0]):
        return Classifier.load(paths[0])
    from cnn_cli.inference.ensemble import Ensemble

    return Ensemble.open(paths)


def _check_memory(graph: Graph, dtype: str, place: str) -> None:
    """Refuse what cannot be, before its shapes are believed: one image needs this at least."""
    widest = max(prod(node.layer.out_shape) for node in graph.nodes)
    numbers = parameter_count(graph) + prod(graph.in_shape) + widest
    need, have = numbers * np.dtype(dtype).itemsize, available_memory()
    if need > have:
        rule = "the network needs more memory than there is"
        raise DataError(place, rule, f"{size_text(need)} of {size_text(have)}")
