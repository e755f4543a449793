"""Everything that a training needs before its first step.

`prepare` checks config, data and memory, in this order; `--dry-run` ends there. The images are
then made ready by `training_data`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cnn_cli.arithmetic import ceil_div
from cnn_cli.config import Config, required_root
from cnn_cli.config.network import build_graph
from cnn_cli.data.dataset import Dataset
from cnn_cli.data.opening import open_dataset
from cnn_cli.data.progressive_resizing import ImageSize
from cnn_cli.data.roots import check_there
from cnn_cli.data.targets import are_multiple
from cnn_cli.errors import ConfigError
from cnn_cli.metric_names import Metric
from cnn_cli.nn.backends import training_backend
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.kernels.paths import Backend
from cnn_cli.nn.layers.base import shape_text
from cnn_cli.nn.layers.batch import needs_company
from cnn_cli.nn.loss import Loss
from cnn_cli.nn.types import Array
from cnn_cli.optim.groups import GroupRules, check_patterns, is_frozen
from cnn_cli.optim.layer_decay import blocks_above
from cnn_cli.parallel.ranks import ALONE, PROCESSES, Ranks
from cnn_cli.runs.meta import split_rule
from cnn_cli.system import cpu_count
from cnn_cli.training.class_weights import class_weights
from cnn_cli.training.initial_weights import InitialWeights, head_names, initial_weights
from cnn_cli.training.measured import keeps_logits, measured_metrics
from cnn_cli.training.memory import MemoryPlan, plan_memory
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.resumed_data import check_resumed, data_facts, was_elsewhere
from cnn_cli.training.smaller_graphs import smaller_graphs

NEW_RUN: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSetup:
    """A training before any image is read.

    Attributes:
        config: the config.
        ranks: the ranks that train together.
        threads: worker threads of this rank.
        backend: the backend of the kernels.
        dataset: the images.
        data_facts: facts with which a resumed run compares its images, see `data_facts`.
        graph: the network, for the classes of `dataset`.
        smaller: the network for each smaller size of `train.progressive_resizing`.
        measured: metrics of the validation images, beside loss and top-1.
        memory: the memory plan.
        class_weights: (classes,), or None.
        initial: the initial weights.
        meta: metadata of the checkpoint to resume; empty for a new training.
        epochs: epochs after which training stops; the schedule is that of `train.epochs`.
    """

    config: Config
    ranks: Ranks
    threads: int
    backend: Backend
    dataset: Dataset
    data_facts: Mapping[str, Any]
    graph: Graph
    smaller: Mapping[ImageSize, Graph]
    measured: tuple[Metric, ...]
    memory: MemoryPlan
    class_weights: Array | None
    initial: InitialWeights
    meta: Mapping[str, Any]
    epochs: int

    @property
    def moved(self) -> bool:
        """Whether a resumed run finds its images in another place."""
        return bool(self.meta) and was_elsewhere(self.meta, self.config)

    @property
    def remarks(self) -> list[str]:
        """Notes for the user before training begins, one per line."""
        found = [*self.dataset.remarks, self.memory.remark]
        if self.smaller:
            found.append(self._sizes)
        decay, above = self.config.train.layer_decay, max(blocks_above(self.graph))
        if decay < 1 and not self.meta:
            least = f"{decay**above:.2g} times the learning rate"
            found.append(f"layer_decay: {above + 1} blocks, the lowest of which has {least}")
        if self.config.train.processes not in (1, "auto") and self.ranks.size == 1:
            found.append(f"{PROCESSES}: one process trains; several take cnn train and Linux")
        return [remark for remark in found if remark]

    @property
    def _sizes(self) -> str:
        """The image sizes of `train.progressive_resizing`, in words."""
        first: dict[ImageSize, int] = {}
        for epoch in range(self.config.train.epochs):
            first.setdefault(self.config.image_size(epoch), epoch + 1)
        return "progressive_resizing: images of " + ", ".join(
            f"{shape_text(size)} from epoch {number}" for size, number in first.items()
        )

    @property
    def multiple(self) -> bool:
        """Whether an image may have several labels."""
        return are_multiple(self.dataset.train.labels)

    @property
    def target_weights(self) -> Array | None:
        """(classes,) class weights if they are applied to the targets rather than in the loss."""
        loss = self.config.train.loss
        return self.class_weights if loss.weighs_targets(multiple=self.multiple) else None

    @property
    def loss(self) -> Loss:
        """The loss function."""
        weights = self.class_weights if self.target_weights is None else None
        return self.config.train.loss.make(multiple=self.multiple, weights=weights)

    def graph_of(self, epoch: int) -> Graph:
        """Return the network for the training images of an epoch, counted from 0."""
        return self.smaller.get(self.config.image_size(epoch), self.graph)

    def trains_head_alone(self, epoch: int) -> bool:
        """Whether an epoch, counted from 0, is one of `train.head`."""
        return epoch < self.config.train.head_epochs

    def rules(self, epoch: int) -> GroupRules:
        """Return the training rules (optimizer, freezing) of an epoch, counted from 0."""
        if self.trains_head_alone(epoch):
            return _rules_of_head(self.config, self.graph)
        return self.config.train.rules

    @property
    def steps_per_epoch(self) -> int:
        return ceil_div(len(self.dataset.train), self.config.train.batch_size)

    @property
    def updates_per_epoch(self) -> int:
        return ceil_div(self.steps_per_epoch, self.config.train.accumulate)

    def step_number(self, epoch: int, batch: int) -> int:
        """Return the number of a step in the whole training; all are counted from 0."""
        return epoch * self.steps_per_epoch + batch


def prepare(
    config: Config,
    source: str,
    options: TrainOptions,
    meta: Mapping[str, Any],
    ranks: Ranks = ALONE,
) -> TrainingSetup:
    """Check everything that can be checked without reading images; write nothing.

    Args:
        config: the config of the training.
        source: its file, for messages.
        options: options of the command line.
        meta: metadata of the checkpoint to resume; empty for a new training.
        ranks: the ranks that train together.

    Raises:
        CnnError: config, data, memory or the checkpoint of the initial weights do not fit.
    """
    dataset = _list_images(config, source, ranks, meta)
    facts = ranks.first(lambda: data_facts(dataset))
    return set_up(config, source, options, meta, ranks, dataset, facts)


def set_up(
    config: Config,
    source: str,
    options: TrainOptions,
    meta: Mapping[str, Any],
    ranks: Ranks,
    dataset: Dataset,
    facts: Mapping[str, Any],
) -> TrainingSetup:
    """Check a training of images that are listed already; ranks exchange nothing.

    Args:
        config, source, options, meta, ranks: as in `prepare`.
        dataset: the images.
        facts: the result of `data_facts`.

    Raises:
        CnnError: as `prepare`.
    """
    threads = choose_threads(options, meta, ranks)
    backend = training_backend(options.backend, meta.get("backend"))
    graph = network_of(config, source, dataset)
    smaller = smaller_graphs(config, source, graph)
    check_resumed(meta, config, facts)
    measured = measured_metrics(config, source, dataset, options.gates)
    if config.train.tensorboard:
        _check_tensorboard(source)
    memory = plan_memory_of(
        config, source, options, dataset, graph, measured, threads, backend, ranks
    )
    weights = class_weights(config, dataset, source)
    initial = initial_weights(config, graph, dataset.classes, source, resumed=bool(meta))
    return TrainingSetup(
        config=config,
        ranks=ranks,
        threads=threads,
        backend=backend,
        dataset=dataset,
        data_facts=facts,
        graph=graph,
        smaller=smaller,
        measured=measured,
        memory=memory,
        class_weights=weights,
        initial=initial,
        meta=meta,
        epochs=options.epochs(config),
    )


def choose_threads(options: TrainOptions, meta: Mapping[str, Any], ranks: Ranks) -> int:
    """Return a rank's worker threads: the number asked for, else that of the resumed run if it has
    the same number of ranks, else the rank's share of the cores.

    Args:
        meta: metadata of the checkpoint to resume; empty without one.
    """
    before = meta.get("threads") if meta.get("ranks", 1) == ranks.size else None
    return options.threads or before or ranks.threads(cpu_count())


def plan_memory_of(
    config: Config,
    source: str,
    options: TrainOptions,
    dataset: Dataset,
    graph: Graph,
    measured: Sequence[Metric],
    threads: int,
    backend: Backend,
    ranks: Ranks,
) -> MemoryPlan:
    """Plan the memory of a training; see `plan_memory`."""
    return plan_memory(
        config,
        graph,
        source,
        threads,
        backend,
        pixel_bytes=config.data.preprocess.dtype.itemsize,
        images=len(dataset.train),
        ranks=ranks,
        to_validate=0 if dataset.val is None else len(dataset.val),
        keep_logits=keeps_logits(measured) or config.data.separator is not None,
        limit=options.memory,
    )


def _check_tensorboard(source: str) -> None:
    """Refuse `train.tensorboard` if its files could not be written.

    Args:
        source: the config's file.

    Raises:
        ConfigError: tensorboardX is not installed.
    """
    if find_spec("tensorboardX") is None:
        rule = "needs tensorboardX; install it with pip install 'cnn-cli[tensorboard]'"
        raise ConfigError(f"{source}: train.tensorboard", rule)


def open_network(
    config: Config, source: str, ranks: Ranks = ALONE, meta: Mapping[str, Any] = NEW_RUN
) -> tuple[Dataset, Graph]:
    """List the images, once for all ranks, and build the network for their classes.

    Args:
        meta: metadata of the checkpoint to resume; empty for a new training.

    Raises:
        ConfigError, DataError: config and images do not fit, or images are missing.
    """
    dataset = _list_images(config, source, ranks, meta)
    return dataset, network_of(config, source, dataset)


def _list_images(config: Config, source: str, ranks: Ranks, meta: Mapping[str, Any]) -> Dataset:
    """List the images, once for all ranks; see `open_images`."""
    root = Path(required_root(config, source))
    if ranks.rank:  # rank 0 checks them while listing
        check_there(root)
    return ranks.first(lambda: open_images(config, source, meta))


def open_images(config: Config, source: str, meta: Mapping[str, Any]) -> Dataset:
    """List the images of a training.

    Args:
        meta: metadata of the checkpoint to resume; empty for a new training.

    Raises:
        ConfigError, DataError: config and images do not fit, or images are missing.
    """
    data = config.data
    return open_dataset(
        Path(required_root(config, source)),
        data.classes,
        data.val_split,
        meta.get("classes", ()),
        data.columns,
        separator=data.separator,
        test_split=data.test_split,
        group=data.group,
        rule=split_rule(meta),
        fold=data.fold,
    )


def network_of(config: Config, source: str, dataset: Dataset) -> Graph:
    """Build the network for the classes of a data set.

    Raises:
        ConfigError: the network does not fit.
    """
    in_shape = config.data.preprocess.shape
    graph = build_graph(config.model, in_shape, len(dataset.classes), source)
    check_patterns(graph, config.train.rules, source)
    if config.train.head is not None:
        _check_head(config, graph, source)
    if config.train.batch_size == 1 and needs_company(node.layer for node in graph.nodes):
        rule = "must be at least 2 where a batchnorm sees one value per channel of an image"
        raise ConfigError(f"{source}: train.batch_size", rule, 1)
    if not (dataset.val and len(dataset.val)):
        _check_without_validation(config, source)
    return graph


def _check_without_validation(config: Config, source: str) -> None:
    """Refuse keys that would have no effect without validation images.

    Raises:
        ConfigError: there is one.
    """
    if config.train.scheduler.type == "plateau":
        rule = "plateau needs validation images; give some, or choose another schedule"
        raise ConfigError(f"{source}: train.scheduler", rule)
    if config.train.early_stop is not None:
        rule = "needs validation images; give some, or leave it out"
        raise ConfigError(f"{source}: train.early_stop", rule, config.train.early_stop)


def _rules_of_head(config: Config, graph: Graph) -> GroupRules:
    """Return the training rules of the epochs of `train.head`."""
    return replace(config.train.rules, only=frozenset(head_names(config, graph)))


def _check_head(config: Config, graph: Graph, source: str) -> None:
    """Refuse `train.head` without a last layer, or with one that is frozen in its epochs.

    Raises:
        ConfigError: there is nothing to train.
    """
    if not head_names(config, graph):
        rule = "needs a layer with one output per class, such as `linear: classes`"
        raise ConfigError(f"{source}: train.head", rule)
    rules, last = _rules_of_head(config, graph), config.train.head_epochs - 1
    parameters = [(node, spec) for node in graph.nodes for spec in node.layer.params]
    if last >= 0 and all(is_frozen(graph, *each, rules, last) for each in parameters):
        rule = "has nothing to train in its epochs, since train.freeze names the last layer"
        raise ConfigError(f"{source}: train.head", rule)
