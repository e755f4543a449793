"""What the training loop and its hooks share, and where hooks are called."""

from __future__ import annotations

from dataclasses import dataclass, field

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
from cnn_cli.runs.checkpoint import Checkpoint
from cnn_cli.runs.folder import RunFolder
from cnn_cli.runs.receipt import Receipt
from cnn_cli.runs.state import TrainingState
from cnn_cli.training.learner import Learner
from cnn_cli.training.mixing import Mixer, make_mixer
from cnn_cli.training.progress import Progress
from cnn_cli.training.requests import Requests
from cnn_cli.training.resumed_data import data_change
from cnn_cli.training.setup import TrainingSetup
from cnn_cli.training.training_data import (
    TrainingData,
    augment_training,
    deal_shards,
    measure_normalization,
    open_training_data,
)
from cnn_cli.training.whitening import whiten


@dataclass(slots=True, eq=False)
class Session:
    """A training from its first step, or from where it was resumed, to its end or a stop.

    Attributes:
        setup, run, data, normalization, kernels, mixer, progress, requests: stay the same.
        learner: the weights, and all else that a step changes.
        state: where the training stands; a rollback replaces it.
        receipt: the pictures; None on ranks other than 0, and where no rank reads them all.
        engine: computes gradients; replaced where other layers are frozen.
        source: of the batches: the loader, or features of frozen layers.
        evaluated: the weights that are evaluated, and saved as the best.
        best: whether the epoch that ended last is the best so far.
        confusion: the group of that epoch's checkpoint with its confusion matrix; may be empty.
        thresholds: of the classes, of the epoch that ended last, where images have several labels.
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
    engine: TrainingEngine = field(init=False)
    source: Source = field(init=False)
    evaluated: Parameters = field(init=False)
    best: bool = False
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
        """Steps that are done, counted by position: a batch left out counts as well."""
        return self.setup.step_number(self.state.epoch, self.state.batch)

    @property
    def estimates_statistics(self) -> bool:
        """Whether `evaluated` has batch statistics of its own, see `precise_bn`."""
        return self.evaluated is not self.learner.weights

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
        """An engine for this training's images.

        Args:
            graph, params, entry, exchange: of `Engine`.
        """
        scale, shift = self.normalization.scale_and_shift()
        return TrainingEngine(
            graph,
            params,
            threads=self.setup.threads,
            seed=self.setup.config.train.seed,
            scale=scale,
            shift=shift,
            scale_floats=self.normalization.depth == "float",
            kernels=self.kernels,
            entry=entry,
            exchange=exchange,
            batch_size=self.setup.config.train.batch_size,
            recompute=self.setup.memory.recompute,
            loss=self.setup.loss,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of this run."""
        self.state = _restore(checkpoint, self.run, self.learner)
        self.thresholds = _thresholds(checkpoint)

    def close(self) -> None:
        self.engine.close()
        self.data.close()
        self.progress.close()


class Hook:
    """What hangs on the training loop. `Trainer.hooks` lists all hooks, in the order of calls."""

    def before_epoch(self, session: Session) -> None:
        """The first step of an epoch is next, or the first one after a resume within it."""

    def after_step(self, session: Session, images: int) -> None:
        """A step with so many images is done, and counted in `session.state`."""

    def after_epoch(self, session: Session) -> None:
        """All steps of an epoch are done. `Validation` counts it in `session.state`."""

    def close(self) -> None:
        """Training ends, or stops."""


def open_session(
    setup: TrainingSetup,
    run: RunFolder,
    checkpoint: Checkpoint | None,
    progress: Progress,
    requests: Requests,
) -> Session:
    """Load or draw the weights, open the images, measure them and compile the kernels.

    Args:
        setup: of `prepare`.
        run: the run folder.
        checkpoint: to resume; None where the run is new.
        progress: told of each step and epoch.
        requests: that may stop the training.

    Raises:
        CnnError: images or the checkpoint cannot be used.
    """
    config, ranks, initial = setup.config, setup.ranks, setup.initial
    # Where each rank reads its own shards, nobody reads all files.
    wanted = ranks.rank == 0 and config.data.shards == 1
    receipt = Receipt.of(setup.dataset) if wanted else None
    if initial.note is not None:
        progress.note(initial.note)
    for remark in setup.remarks:
        progress.note(remark)
    learner, state = Learner(setup), TrainingState()
    if checkpoint is not None:
        state = _restore(checkpoint, run, learner)
        if changed := data_change(setup.meta, setup.data_facts):
            progress.note(changed)
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
    augment_training(config, data, normalization)
    if checkpoint is None and initial.normalization is None:
        _whiten(setup, data, normalization, learner)
    return Session(
        setup=setup,
        run=run,
        data=data,
        normalization=normalization,
        kernels=_open_kernels(setup, progress),
        mixer=make_mixer(config),
        progress=progress,
        requests=requests,
        learner=learner,
        state=state,
        thresholds=() if checkpoint is None else _thresholds(checkpoint),
        receipt=receipt,
    )


def _thresholds(checkpoint: Checkpoint) -> tuple[float, ...]:
    """Those of a checkpoint; none where images have one label."""
    labels = SeveralLabels.stored(checkpoint.meta)
    return () if labels is None else labels.thresholds


def _restore(checkpoint: Checkpoint, run: RunFolder, learner: Learner) -> TrainingState:
    """Load a checkpoint's arrays; where its training stands."""
    place = str(run.last)
    state = TrainingState.from_meta(checkpoint.meta, place)
    learner.load(checkpoint, place, state.batch)
    return state


def _whiten(
    setup: TrainingSetup, data: TrainingData, normalization: Normalization, learner: Learner
) -> None:
    """Compute the initial weights of whitening convolutions from images."""
    ranks, loader, params = setup.ranks, data.train_loader, learner.params
    if ranks.rank == 0:
        first_shard = deal_shards(setup.config, loader.split)[0]
        whiten(params, loader, normalization, setup.config.train.seed, first_shard)
    params.flat[...] = ranks.first(lambda: params.flat)
    params.touch()
    if learner.average is not None:
        learner.average.params.copy_from(params)


def _open_kernels(setup: TrainingSetup, progress: Progress) -> Kernels:
    """Rank 0 compiles the kernels; then the other ranks find them compiled."""

    def kernels() -> Kernels:
        dtype = setup.config.train.dtype
        return open_kernels(setup.backend, setup.graph, dtype, progress.note)

    opened = kernels() if setup.ranks.rank == 0 else None
    setup.ranks.first(lambda: None)
    return opened or kernels()
