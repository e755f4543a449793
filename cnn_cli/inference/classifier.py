"""A trained network with everything needed to classify images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn_cli.data.normalization import Normalization
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.targets import NONE
from cnn_cli.inference.rejection import REJECTION, Rejection
from cnn_cli.nn.backends import open_kernels
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.loss import sigmoid, softmax
from cnn_cli.nn.memory import parameter_count
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array
from cnn_cli.runs.checkpoint import WEIGHT_GROUPS, load_checkpoint, resolve_checkpoint
from cnn_cli.runs.meta import SEVERAL, stored_tta
from cnn_cli.runs.stored_network import stored_config, stored_network
from cnn_cli.structs import Struct
from cnn_cli.system import check_memory

if TYPE_CHECKING:
    from cnn_cli.config import Config
    from cnn_cli.data.views import Views
    from cnn_cli.inference.scorer import OpenScorer, ViewsEngine

Labels = tuple[tuple[str, float], ...]
ONE_VIEW = "none"  # test-time augmentation that is turned off


class SeveralLabels(Struct):
    """How several labels are assigned to an image.

    Attributes:
        separator: written between labels: `data.label_sep`.
        thresholds: the least probability of each label.
    """

    separator: str
    thresholds: tuple[float, ...]

    @classmethod
    def stored(cls, meta: Mapping[str, Any]) -> SeveralLabels | None:
        """Read from a checkpoint's metadata; None if each image has one label."""
        found = meta.get(SEVERAL)
        return None if found is None else cls(found["separator"], tuple(found["thresholds"]))

    @classmethod
    def mean(cls, several: Sequence[SeveralLabels]) -> SeveralLabels:
        """Return the mean of several networks' thresholds, for averaged answers.

        An image then has the labels whose mean probability reaches the mean threshold.
        """
        thresholds = np.mean([each.thresholds for each in several], axis=0)
        return cls(several[0].separator, tuple(thresholds.tolist()))

    def in_order(self, order: Sequence[int]) -> SeveralLabels:
        """Return a copy for classes in another order, given as class numbers."""
        return SeveralLabels(self.separator, tuple(self.thresholds[i] for i in order))

    def as_meta(self) -> dict[str, Any]:
        return {"separator": self.separator, "thresholds": list(self.thresholds)}

    def of(self, probabilities: Array, least: float = 0.0) -> list[int]:
        """Return an image's label numbers, most probable first.

        Args:
            probabilities: (classes,).
            least: an additional lower bound.
        """
        reached = (probabilities >= np.array(self.thresholds)) & (probabilities >= least)
        numbers = np.flatnonzero(reached)
        order = numbers[np.argsort(-probabilities[numbers], kind="stable")]
        return [int(number) for number in order]

    def text(self, labels: Sequence[str]) -> str:
        """Return labels as one text, joined by the separator."""
        return self.separator.join(labels) or NONE


class Classifier(Struct):
    """The content of a checkpoint for evaluation and prediction.

    Attributes:
        path: the checkpoint's file.
        meta: the checkpoint's metadata.
        config: the config of its training, parsed on first use.
        params: the weights and statistics for evaluation.
        temperature: divisor of the logits, from `cnn eval --calibrate`; 1 without.
        several: how several labels are assigned; None if each image has one.
        rejection: which images are rejected; None if none are.
        tta: kind of test-time augmentation, one of `data.views.TTA`; None for one view.
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
    tta: str | None = None

    @classmethod
    def load(cls, path: str | Path, tta: str | None = None) -> Classifier:
        """Read an `.npz` file, or the best checkpoint of a run folder.

        Args:
            path: the file or folder.
            tta: replaces the checkpoint's `augment.tta`: one of `data.views.TTA`, or `ONE_VIEW`.

        Raises:
            DataError: it is missing or damaged, or does not fit its own config.
        """
        file = resolve_checkpoint(Path(path))
        checkpoint = load_checkpoint(file, (*WEIGHT_GROUPS, REJECTION))
        meta = checkpoint.meta
        classes = tuple(meta["classes"])
        graph, dtype = stored_network(meta, str(file))
        _check_memory(graph, dtype, str(file))
        params = Parameters(graph, dtype)
        # Averaged weights replace the trained ones; statistics estimated for evaluation replace the
        # running ones.
        arrays: dict[str, Array] = {}
        for group in WEIGHT_GROUPS:
            arrays |= checkpoint.groups.get(group, {})
        params.load(arrays, str(file))
        rejection = None
        if REJECTION in checkpoint.groups:
            arrays = checkpoint.groups[REJECTION]
            rejection = Rejection.stored(meta, arrays, len(classes), str(file))
        return cls(
            path=file,
            meta=meta,
            classes=classes,
            preprocess=Preprocess(**meta["preprocess"]),
            normalization=Normalization.stored(meta),
            graph=graph,
            params=params,
            temperature=meta.get("calibration", {}).get("temperature", 1.0),
            several=SeveralLabels.stored(meta),
            rejection=rejection,
            tta=None if tta == ONE_VIEW else tta or stored_tta(meta),
        )

    @cached_property
    def config(self) -> Config:
        return stored_config(self.meta, str(self.path))

    def digest(self) -> bytes:
        """Return a hash of everything that determines the predictions for a view of an image."""
        told = [self.classes, self.temperature]
        told += [] if self.several is None else [self.several]
        told += [] if self.rejection is None else [self.rejection.as_meta()]
        return self._hash(told)

    def network_digest(self) -> bytes:
        """Return a hash of everything that determines the features of a view of an image."""
        return self._hash([])

    def _hash(self, told: list[Any]) -> bytes:
        import hashlib  # imports OpenSSL, which is too slow for a single prediction

        network = [self.graph.plain(), self.preprocess, self.normalization]
        digest = hashlib.blake2b(repr([*told, *network]).encode(), digest_size=16)
        for array in (self.params.flat, self.params.flat_buffers):
            digest.update(array.data)
        return digest.digest()

    @cached_property
    def views(self) -> Views | None:
        """The views of each image whose scores are averaged; None for one view."""
        if self.tta is None:
            return None
        from cnn_cli.data.views import make_views

        return make_views(self.tta, self.preprocess)

    @property
    def decoding(self) -> Preprocess:
        """How images are decoded for `scorer`: like `preprocess`, larger if views are crops."""
        return self.preprocess if self.views is None else self.views.pre

    @property
    def tta_text(self) -> str | None:
        """The kind of test-time augmentation; of networks that differ, their kinds."""
        kinds = dict.fromkeys(one.tta for one in self.networks)
        if len(kinds) == 1:
            return self.networks[0].tta
        return ", ".join(one.tta or ONE_VIEW for one in self.networks)

    @property
    def labels_kind(self) -> str:
        """The `data.labels` of its training."""
        return "single" if self.several is None else "multiple"

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The classes' thresholds; empty if each image has one label."""
        return () if self.several is None else self.several.thresholds

    @property
    def networks(self) -> tuple[Classifier, ...]:
        """The networks whose probabilities are averaged; itself if there is only one."""
        return (self,)

    @property
    def rejects(self) -> bool:
        """Whether images may be rejected."""
        return self.rejection is not None

    def agrees_on(self, split: str) -> bool:
        """Whether all of its networks have the same images in a part of their data set."""
        return True

    def scorer(
        self, threads: int, backend: str = "numpy", note: Callable[[str], None] = lambda _: None
    ) -> OpenScorer:
        """Create the engine that scores images with all networks and views; close it when done.

        Args:
            threads: number of worker threads.
            backend, note: as in `open_kernels`.
        """
        return self.over_views(self.engine(threads, backend, note))

    def over_views(self, engine: Engine) -> Engine | ViewsEngine:
        """Return an engine of this network that averages over its views, if there are several."""
        if self.views is None:
            return engine
        from cnn_cli.inference.scorer import ViewsEngine

        return ViewsEngine(engine, self.views)

    def engine(
        self,
        threads: int,
        backend: str = "numpy",
        note: Callable[[str], None] = lambda _: None,
        beside: Engine | None = None,
    ) -> Engine:
        """Create an engine for one view of each image; close it when done.

        Args:
            threads, backend, note: as in `scorer`.
            beside: see `Engine`.
        """
        return Engine(
            self.graph,
            self.params,
            threads=threads,
            kernels=open_kernels(backend, self.graph, str(self.params.dtype), note),
            beside=beside,
            **self.normalization.for_engine(),
        )

    def probabilities(self, logits: Array) -> Array:
        """Return the probabilities (n, classes) of logits (n, classes), calibrated if the
        checkpoint is.

        Probabilities of an image add up to 1, or are independent if it may have several labels.
        """
        scaled = logits if self.temperature == 1 else logits / self.temperature
        return softmax(scaled) if self.several is None else sigmoid(scaled)

    def labels(self, probabilities: Array, least: float = 0.0) -> Labels | None:
        """Return an image's labels with their probabilities, most probable first; None if each
        image has one.

        Args:
            probabilities: (classes,).
            least: a lower bound in addition to the thresholds.
        """
        if self.several is None:
            return None
        numbers = self.several.of(probabilities, least)
        return tuple((self.classes[i], round(float(probabilities[i]), 8)) for i in numbers)

    def label_text(self, labels: Sequence[str]) -> str | None:
        """Return several labels as one text; None if each image has one."""
        return None if self.several is None else self.several.text(labels)


def _check_memory(graph: Graph, dtype: str, place: str) -> None:
    """Refuse implausible shapes before trusting them: one image needs at least this much memory."""
    widest = max(prod(node.layer.out_shape) for node in graph.nodes)
    numbers = parameter_count(graph) + prod(graph.in_shape) + widest
    need = numbers * np.dtype(dtype).itemsize
    check_memory(need, place, "the network needs more memory than there is")
