"""The state that the training loop and its hooks share, and the interface of hooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cnn_cli.data.loader import Loader
from cnn_cli.data.normalization import Normalization
from cnn_cli.inference.classifier import SeveralLabels
from cnn_cli.inference.several_labels import HALF
from cnn_cli.nn.backends import open_kernels
from cnn_cli.nn.exchange import Exchange
from cnn_cli.nn.graph import IMAGE, Graph
from cnn_cli.nn.kernels.interface import Kernels
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.nn.types import Array
from cnn_cli.parallel.batches import Source
from cnn_cli.portable import return_free_memory
from cnn_cli.runs.checkpoint import PRECISE_BN, Checkpoint
from cnn_cli.runs.folder import RunFolder
from cnn_cli.runs.receipt import Receipt
from cnn_cli.runs.state import TrainingState
from cnn_cli.training.learner import Learner
from cnn_cli.training.mixing import Mixer, make_mixer
from cnn_cli.training.progress import Progress
from cnn_cli.training.requests import Requests
from cnn_cli.training.resumed_data import data_change, receipt_of
from cnn_cli.training.setup import TrainingSetup
from cnn_cli.training.training_data import (
    TrainingData,
    augment_kinds,
    augment_training,
    deal_shards,
    measure_normalization,
    open_training_data,
)
from cnn_cli.training.whitening import whiten

if TYPE_CHECKING:
    from cnn_cli.training.features import ValidationFeatures


@dataclass(slots=True, eq=False)
class Session:
    """A training from its first step, or from where it was resumed, to its end or a stop.

    Attributes:
        setup, run, data, normalization, kernels, mixer, progress, requests: these do not change.
        learner: the weights and everything else that a step changes.
        state: the progress of the training; a rollback replaces it.
        receipt: which images the network is trained on; None on ranks other than 0, and if no rank
            reads all images.
        data_change: how the images differ from those of the session before; None if they do not.
        engine: computes gradients; replaced when other layers are frozen or images have another
            size.
        source: gives the batches: the loader, or the features of frozen layers.
        val_features: evaluates with what frozen layers give for validation images; None without.
        evaluated: the weights to evaluate and to save as the best.
        estimated: a checkpoint group with the batch statistics that were estimated after the last
            finished epoch, see `precise_bn`; may be empty.
        best: whether to save the weights of the last finished epoch as the best.
        confusion: a checkpoint group with that epoch's confusion matrix; may be empty.
        thresholds: the classes' thresholds of that epoch if images have several labels.
    """

    setup: TrainingSetup
    run: RunFolder
    data: TrainingData
    normalization: Normalization
    kernels: Kernels
    mixer: Mixer | None
    progress: Progress
    requests: Requests
    learner: Learner
    state: TrainingState
    receipt: Receipt | None
    data_change: str | None
    engine: TrainingEngine = field(init=False)
    source: Source = field(init=False)
    evaluated: Parameters = field(init=False)
    val_features: ValidationFeatures | None = None
    best: bool = False
    estimated: Mapping[str, Array] = field(default_factory=dict)
    confusion: dict[str, dict[str, Array]] = field(default_factory=dict)
    thresholds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        self.engine = self.open_engine(
            self.setup.graph, self.learner.params, exchange=self.exchange
        )
        self.source = self.data.train_loader
        if not self.thresholds:
            self.thresholds = (HALF,) * len(self.setup.dataset.classes)
        self.evaluated = self.learner.weights

    @property
    def steps_done(self) -> int:
        """Number of steps done; a skipped batch counts as well."""
        return self.setup.step_number(self.state.epoch, self.state.batch)

    @property
    def estimates_statistics(self) -> bool:
        """Whether `evaluated` has batch statistics of its own, see `precise_bn`."""
        return self.evaluated is not self.learner.weights

    @property
    def loader(self) -> Loader:
        """The loader of the epoch's training images; those of `train.head` are not augmented."""
        plain = self.data.plain_loader
        head_alone = self.setup.trains_head_alone(self.state.epoch)
        return plain if head_alone and plain is not None else self.data.train_loader

    @property
    def exchange(self) -> Exchange | None:
        return self.setup.ranks if self.setup.ranks.size > 1 else None

    def open_engine(
        self,
        graph: Graph,
        params: Parameters,
        entry: int = IMAGE,
        exchange: Exchange | None = None,
    ) -> TrainingEngine:
        """Create an engine for this training's images.

        Args:
            graph, params, entry, exchange: as in `Engine`.
        """
        return TrainingEngine(
            graph,
            params,
            threads=self.setup.threads,
            seed=self.setup.config.train.seed,
            kernels=self.kernels,
            entry=entry,
            exchange=exchange,
            batch_size=self.setup.config.train.batch_size,
            recompute=self.setup.memory.recompute,
            loss=self.setup.loss,
            **self.normalization.for_engine(),
        )

    def replace_engine(self, graph: Graph, entry: int = IMAGE) -> None:
        """Train and evaluate with another engine from now on.

        Args:
            graph, entry: as in `Engine`.
        """
        self.engine.close()
        self.val_features = None
        self.engine = self.open_engine(graph, self.learner.params, entry, self.exchange)
        # Blocks of other sizes and threads would be allocated beside those of the last engine.
        return_free_memory()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore the training from a checkpoint of this run."""
        self.state = _restore(checkpoint, self.run, self.learner)
        self.thresholds = _thresholds(checkpoint)
        self.estimated = _estimated(checkpoint)

    def close(self) -> None:
        self.engine.close()
        self.data.close()
        self.progress.close()


class Hook:
    """A hook of the training loop. `Trainer.hooks` lists all hooks in the order of their calls."""

    def before_epoch(self, session: Session) -> None:
        """Called before the first step of an epoch, or before the first one after a resume."""

    def after_step(self, session: Session, images: int) -> None:
        """Called after each step, which is already counted in `session.state`; `images` is its
        batch size.
        """

    def after_epoch(self, session: Session) -> None:
        """Called after the last step of an epoch. `Validation` counts the epoch in
        `session.state`.
        """

    def close(self) -> None:
        """Called when training ends or stops."""


def open_session(
    setup: TrainingSetup,
    run: RunFolder,
    checkpoint: Checkpoint | None,
    progress: Progress,
    requests: Requests,
) -> Session:
    """Load or draw the weights, open the images, measure them and compile the kernels.

    Args:
        setup: the result of `prepare`.
        run: the run folder.
        checkpoint: the checkpoint to resume; None for a new run.
        progress: receives reports on each step and epoch.
        requests: may stop the training.

    Raises:
        CnnError: images or the checkpoint cannot be used.
    """
    config, ranks, initial = setup.config, setup.ranks, setup.initial
    receipt = receipt_of(config, setup.dataset) if ranks.rank == 0 else None
    if initial.note is not None:
        progress.note(initial.note)
    for remark in setup.remarks:
        progress.note(remark)
    learner, state, changed = Learner(setup), TrainingState(), None
    if checkpoint is not None:
        state = _restore(checkpoint, run, learner)
        changed = data_change(setup.meta, setup.data_facts, receipt, run.path)
        if changed is not None:
            progress.note(f"the data changed since the last session: {changed}")
    data = open_training_data(
        config, setup.dataset, setup.threads, progress.note, ranks, setup.memory
    )
    if checkpoint is None:
        normalization = measure_normalization(
            config, data, setup.threads, initial.normalization, ranks
        )
        if warning := initial.compare(normalization):
            progress.note(warning)
    else:
        normalization = Normalization.stored(checkpoint.meta)
    kernels = _open_kernels(setup, progress)
    augment_training(config, data, normalization, kernels.resample)
    if checkpoint is None and initial.normalization is None:
        _whiten(setup, data, normalization, learner)
    return Session(
        setup=setup,
        run=run,
        data=data,
        normalization=normalization,
        kernels=kernels,
        mixer=make_mixer(config),
        progress=progress,
        requests=requests,
        learner=learner,
        state=state,
        thresholds=() if checkpoint is None else _thresholds(checkpoint),
        estimated={} if checkpoint is None else _estimated(checkpoint),
        receipt=receipt,
        data_change=changed,
    )


def _thresholds(checkpoint: Checkpoint) -> tuple[float, ...]:
    """Return the thresholds of a checkpoint; none if images have one label."""
    labels = SeveralLabels.stored(checkpoint.meta)
    return () if labels is None else labels.thresholds


def _estimated(checkpoint: Checkpoint) -> Mapping[str, Array]:
    """Return the estimated batch statistics of a checkpoint; none in the middle of an epoch."""
    return checkpoint.groups.get(PRECISE_BN, {})


def _restore(checkpoint: Checkpoint, run: RunFolder, learner: Learner) -> TrainingState:
    """Load a checkpoint's arrays and return the training's state."""
    place = str(run.last)
    state = TrainingState.from_meta(checkpoint.meta, place)
    learner.load(checkpoint, place, state.batch)
    return state


def _whiten(
    setup: TrainingSetup, data: TrainingData, normalization: Normalization, learner: Learner
) -> None:
    """Compute the initial weights of convolutions with `init: whitening` from images."""
    ranks, loader, params = setup.ranks, data.train_loader, learner.params
    if ranks.rank == 0:
        first_shard = deal_shards(setup.config, loader.split)[0]
        whiten(params, loader, normalization, setup.config.train.seed, first_shard)
    params.flat[...] = ranks.first(lambda: params.flat)
    params.touch()
    if learner.average is not None:
        learner.average.params.copy_from(params)


def _open_kernels(setup: TrainingSetup, progress: Progress) -> Kernels:
    """Compile the kernels on rank 0 first, so that the other ranks find them in the cache."""

    def kernels() -> Kernels:
        dtype, also = setup.config.train.dtype, augment_kinds(setup.config)
        return open_kernels(setup.backend, setup.graph, dtype, progress.note, also)

    opened = kernels() if setup.ranks.rank == 0 else None
    setup.ranks.first(lambda: None)
    return opened or kernels()
