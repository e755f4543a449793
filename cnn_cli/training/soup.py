"""Average the weights of several networks: a model soup (Wortsman et al. 2022).

Networks fine-tuned from the same initial weights are so close that their mean is usually as
accurate as their ensemble, at the cost of one network. Running statistics of batch normalization
depend on the weights and cannot be averaged; they are estimated from training images (Izmailov et
al. 2018, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnn_cli import __version__, strict_json
from cnn_cli.data.dataset import Dataset
from cnn_cli.errors import DataError, UsageError
from cnn_cli.inference.classifier import Classifier, SeveralLabels
from cnn_cli.inference.evaluate_files import own_dataset
from cnn_cli.nn.backends import choose_backend, open_kernels
from cnn_cli.nn.graph import Graph, Node
from cnn_cli.nn.layers.base import shape_text
from cnn_cli.nn.layers.batch import BatchLayer
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.optim.groups import freeze_graph
from cnn_cli.parallel.ranks import ALONE
from cnn_cli.runs.checkpoint import Checkpoint, holds_folds
from cnn_cli.runs.folder import folds_in
from cnn_cli.runs.meta import SEVERAL
from cnn_cli.training.memory import plan_memory
from cnn_cli.training.precise_bn import IMAGES, estimate_statistics
from cnn_cli.training.requests import Requests
from cnn_cli.training.training_data import augment_training, open_training_data

# Metadata of the first checkpoint that also holds for the mean.
KEPT = ("config", "classes", "preprocess", "mean", "std", "seed", "split_rule", "network")


@dataclass(frozen=True, slots=True)
class Soup:
    """The mean of several checkpoints.

    Attributes:
        checkpoint: a checkpoint with the mean weights.
        members: the files of the averaged checkpoints.
        images: number of training images used for batch statistics; None if the statistics were
            averaged, because their layers are frozen or the images are gone, or there are none.
        remarks: notes for the user, one per line.
    """

    checkpoint: Checkpoint
    members: tuple[Path, ...]
    images: int | None
    remarks: tuple[str, ...]


def average_weights(
    paths: Sequence[Path],
    root: Path | None,
    threads: int,
    backend: str | None,
    note: Callable[[str], None],
) -> Soup:
    """Average the evaluated weights of several checkpoints, in float64.

    Args:
        paths: at least two checkpoints; a run of folds counts as all its networks.
        root: the folder of training images; None for the one in the first checkpoint.
        threads: worker threads.
        backend: the backend that estimates statistics; None for the fastest.
        note: receives notes about compiling kernels.

    Raises:
        UsageError: there are fewer than two checkpoints.
        DataError: a checkpoint cannot be read or has another network, or `root` lacks the images.
    """
    places = [
        place for path in paths for place in (folds_in(path) if holds_folds(path) else [path])
    ]
    if len(places) < 2:
        raise UsageError("average", "needs two checkpoints or more", len(places))
    first = Classifier.load(places[0])
    members = [first.path]
    remarks: list[str] = []
    several = [] if first.several is None else [first.several]
    flat = first.params.flat.astype(np.float64)
    buffers = first.params.flat_buffers.astype(np.float64)
    fitted = _is_fitted(first)
    for place in places[1:]:
        other = Classifier.load(place)
        _check_same_network(other, first)
        remarks += _not_kept(other, first)
        flat += other.params.flat
        buffers += other.params.flat_buffers
        members.append(other.path)
        fitted |= _is_fitted(other)
        several += [] if other.several is None else [other.several]
    first.params.flat[...] = flat / len(members)
    first.params.flat_buffers[...] = buffers / len(members)
    first.params.touch()
    images, why = _estimate_statistics(first, root, threads, backend, note)
    if why is not None:
        remarks.append(f"batch normalization statistics are the mean of the checkpoints': {why}")
    if root is not None and images is None:
        remarks.append(f"--data {root} is not needed: no batch statistics are measured")
    labels = None
    if several:
        labels = SeveralLabels.mean(several)
        remarks.append("thresholds are the checkpoints' mean; cnn eval --calibrate chooses others")
    if fitted:
        remarks.append(
            "no temperature and no bound of --reject, which were fitted to the checkpoints; "
            "cnn eval --calibrate fits others"
        )
    checkpoint = _checkpoint(first, members, images, labels)
    return Soup(checkpoint, tuple(members), images, tuple(remarks))


def _not_kept(other: Classifier, first: Classifier) -> Iterator[str]:
    """Yield notes on what the mean has of the first checkpoint, not of another one."""
    if other.normalization != first.normalization:
        yield f"{other.path} has a different mean and std; those of {first.path} are kept"
    if other.tta != first.tta:
        yield f"{other.path} has another augment.tta; that of {first.path} is kept"


def _is_fitted(classifier: Classifier) -> bool:
    """Whether a checkpoint has a temperature or a bound of `cnn eval --calibrate`."""
    return classifier.temperature != 1 or classifier.rejects


def _check_same_network(other: Classifier, first: Classifier) -> None:
    place = other.path
    if other.labels_kind != first.labels_kind:
        rule = f"must be of data.labels {first.labels_kind}, as {first.path}"
        raise DataError(place, rule, other.labels_kind)
    if other.classes != first.classes:
        rule = f"must have the classes of {first.path}, in the same order"
        own, theirs = (strict_json.dumps(list(one.classes)) for one in (other, first))
        raise DataError(place, rule, f"{own}, not {theirs}")
    difference = _first_difference(other.graph, first.graph)
    if difference is None and other.preprocess != first.preprocess:
        difference = f"images of {other.preprocess.shape}, {other.preprocess.resize_mode}"
    if difference is not None:
        raise DataError(place, f"must be of the same network as {first.path}", difference)


def _first_difference(graph: Graph, wanted: Graph) -> str | None:
    if graph.in_shape != wanted.in_shape:
        return f"images of {shape_text(graph.in_shape)}, not {shape_text(wanted.in_shape)}"
    for own, other in zip(graph.nodes, wanted.nodes, strict=False):
        if (own.name, own.layer.kind, own.inputs) != (other.name, other.layer.kind, other.inputs):
            return f"{_words(own)}, not {_words(other)}"
        for key in {**own.arguments, **other.arguments}:
            found, expected = own.arguments.get(key), other.arguments.get(key)
            if found != expected:
                return f"{_words(own)} with {key} {found}, not {expected}"
    if len(graph.nodes) != len(wanted.nodes):
        return f"{len(graph.nodes)} layers, not {len(wanted.nodes)}"
    return None


def _words(node: Node) -> str:
    return f"{node.name} ({node.layer.kind})"


def _own_images(classifier: Classifier, root: Path | None) -> Dataset | str:
    """Return the network's training images, or why there are none; raise if `root` was given."""
    try:
        return own_dataset(classifier, root)
    except DataError as error:
        if root is not None:
            raise
        return error.line().rstrip(".")


def _estimate_statistics(
    classifier: Classifier,
    root: Path | None,
    threads: int,
    backend: str | None,
    note: Callable[[str], None],
) -> tuple[int | None, str | None]:
    """Estimate the statistics of batch normalization from training images, if they can be.

    Returns:
        The number of images, or None; and, if statistics are left as they are, why.
    """
    graph = freeze_graph(classifier.graph, classifier.config.train.rules, 0)
    layers = [node.layer for node in graph.nodes if isinstance(node.layer, BatchLayer)]
    if not layers:
        return None, None
    if all(layer.frozen for layer in layers):
        return None, "train.freeze keeps them all"
    dataset = _own_images(classifier, root)
    if isinstance(dataset, str):
        return None, dataset
    return _estimate(classifier, graph, dataset, threads, backend, note), None


def _estimate(
    classifier: Classifier,
    graph: Graph,
    dataset: Dataset,
    threads: int,
    backend: str | None,
    note: Callable[[str], None],
) -> int:
    """Estimate batch statistics from training images and return the number of images.

    Args:
        graph: the network, with frozen layers.
    """
    params, config = classifier.params, classifier.config
    weights = params.copy()
    kernels = choose_backend(backend)
    memory = plan_memory(
        config,
        graph,
        str(classifier.path),
        threads,
        kernels,
        pixel_bytes=config.data.preprocess.dtype.itemsize,
        images=len(dataset.train),
    )
    data = open_training_data(config, dataset, threads, note)
    augment_training(config, data, classifier.normalization)
    try:
        with TrainingEngine(
            graph,
            weights,
            threads=threads,
            recompute=memory.recompute,
            seed=config.train.seed,
            kernels=open_kernels(kernels, graph, str(params.dtype), note),
            batch_size=config.train.batch_size,
            **classifier.normalization.for_engine(),
        ) as engine:
            awaited = Requests().awaited
            estimate_statistics(engine, weights, params, data, config, 0, ALONE, awaited)
    finally:
        data.close()
    return min(IMAGES, len(dataset.train)) - len(data.bad_files)


def _checkpoint(
    first: Classifier, members: Sequence[Path], images: int | None, several: SeveralLabels | None
) -> Checkpoint:
    kept: Mapping[str, Any] = {key: first.meta[key] for key in KEPT if key in first.meta}
    meta = {
        "program_version": __version__,
        **kept,
        "epoch": 0,
        "step": 0,
        **({} if several is None else {SEVERAL: several.as_meta()}),
        "averaged": {"checkpoints": [str(path) for path in members], "images": images},
    }
    return Checkpoint(meta, {"model": first.params.named() | first.params.named_buffers()})
