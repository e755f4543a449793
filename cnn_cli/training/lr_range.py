"""`cnn lr`: the learning-rate range test (Smith 2017).

The learning rate rises at each step until the loss diverges. Nothing is evaluated or saved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from math import ceil, inf, isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cnn_cli.config import Config
from cnn_cli.errors import DivergedError
from cnn_cli.metric_names import default_monitor
from cnn_cli.optim.optimizer import OptimizerConfig
from cnn_cli.optim.optimizers.muon import MuonConfig
from cnn_cli.optim.schedule import ConstantConfig, Now
from cnn_cli.parallel.batches import BatchSplitter
from cnn_cli.runs.folder import RunFolder
from cnn_cli.runs.state import EpochSums
from cnn_cli.training.epoch_network import EpochNetwork
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Silent
from cnn_cli.training.requests import Requests
from cnn_cli.training.session import Session, open_session
from cnn_cli.training.setup import TrainingSetup, prepare
from cnn_cli.training.step import NotFiniteError, Step, nothing_learned
from cnn_cli.training.training_data import check_classes, epoch_order

LOW, HIGH = 1e-6, 10.0  # learning rates of the first and the last step
SKIPPED = 10  # of the first points, as in Lightning
WINDOW = 5  # steps on each side for fitting a slope: single losses are noisy
BETA = 0.9  # smoothing factor of the loss
DIVERGED = 4.0  # multiple of the lowest smoothed loss, as in fastai and Lightning
DIGITS = 2  # significant digits of a suggestion; more would be noise

End = Literal["diverged", "last rate", "time limit"]


class GivenConfig(ConstantConfig):
    """A rate of 1, which `TrainingState.lr_factor` multiplies; configs cannot name it."""

    def rate(self, lr: float, now: Now) -> float:
        return 1.0


def _rate(way: float) -> float:
    """Return the rate at a fraction of the way from `LOW` to `HIGH` on a logarithmic scale."""
    return float(LOW * (HIGH / LOW) ** way)


@dataclass(frozen=True, slots=True)
class RangePoint:
    """One step of the test.

    Attributes:
        lr: learning rate of the update.
        loss: mean loss of its batches before the update.
        smoothed: exponential moving average of the losses so far.
    """

    lr: float
    loss: float
    smoothed: float


@dataclass(frozen=True, slots=True)
class LrRange:
    """The result of the test.

    Attributes:
        points: the steps, without one whose loss was not finite.
        steps: number of steps planned up to the highest rate.
        ended: why the test ended.
        configured: the config's learning rates by dotted key, the schedule's first.
    """

    points: tuple[RangePoint, ...]
    steps: int
    ended: End
    configured: Mapping[str, float]

    @property
    def lowest(self) -> RangePoint:
        """The point of the lowest smoothed loss.

        The first points are skipped because they average few losses: with small batches, one of
        them may be the lowest by chance.
        """
        return min(self.points[SKIPPED:] or self.points, key=lambda point: point.smoothed)

    @property
    def steepest(self) -> RangePoint | None:
        """The point where the smoothed loss falls fastest; None if it never fell."""
        before = range(SKIPPED, self.points.index(self.lowest))
        falling = [step for step in before if self._slope(step) < 0]
        return self.points[min(falling, key=self._slope)] if falling else None

    def _slope(self, step: int) -> float:
        """Slope of the smoothed loss over the logarithm of the rate, fitted around a step."""
        around = self.points[step - WINDOW : step + WINDOW + 1]
        x = np.log([point.lr for point in around])
        x -= x.mean()
        return float(x @ [point.smoothed for point in around] / (x @ x))

    @property
    def suggestion(self) -> float | None:
        """The suggested learning rate; None if the test was incomplete or found none."""
        found = None if self.ended == "time limit" else self.steepest
        return None if found is None else float(f"{found.lr:.{DIGITS}g}")

    @property
    def settings(self) -> dict[str, float]:
        """The suggestion by dotted key; other scheduled rates keep their ratio to it."""
        first, rate = next(iter(self.configured.values())), self.suggestion
        if rate is None:
            return {}
        return {
            # The first rate, and with it the only one, may be 0.
            key: rate if value == first else float(f"{rate * value / first:.{DIGITS}g}")
            for key, value in self.configured.items()
        }

    def as_dict(self) -> dict[str, Any]:
        return {
            "suggestion": self.suggestion,
            "settings": self.settings,
            "configured": dict(self.configured),
            "steepest": None if self.steepest is None else self.steepest.lr,
            "lowest": self.lowest.lr,
            "ended": self.ended,
            "steps": self.steps,
            "points": [asdict(point) for point in self.points],
        }


def range_test(
    config: Config,
    source: str,
    options: TrainOptions,
    steps: int,
    seconds: float,
    note: Callable[[str], None],
    watch: Callable[[int], None] = lambda _: None,
) -> LrRange:
    """Train with a rising learning rate, and discard the weights.

    The config's schedule, warm-up, `train.head` and `train.progressive_resizing` are ignored;
    everything else applies, such as optimizer, augmentation, averages and frozen layers. Epochs
    repeat as often as needed.

    Args:
        config: the config of a training.
        source: its file, for messages.
        options: threads and backend.
        steps: number of updates up to the highest rate.
        seconds: time limit of the test.
        note: receives notes for the user.
        watch: called after each step with its number, from 1.

    Raises:
        CnnError: what `train` would raise before its first step; `DivergedError` if the loss is not
            finite at the lowest rate.
    """
    deadline = time.monotonic() + seconds
    plain = config.with_keys(
        "train",
        scheduler=GivenConfig(),
        head=None,
        progressive_resizing=None,
        monitor=default_monitor(config.data.labels).name,
    )
    setup = _of_steps(prepare(plain, source, options, {}), steps)
    session = open_session(setup, RunFolder(Path()), None, _Notes(note), Requests())
    points: list[RangePoint] = []
    ended: End = "last rate"
    average, lowest = 0.0, inf
    try:
        session.state.lr_factor = _rate(0)
        for loss in _losses(session):
            if not isfinite(loss):
                ended = "diverged"
                break
            average = BETA * average + (1 - BETA) * loss
            smoothed = average / (1 - BETA ** (len(points) + 1))
            points.append(RangePoint(session.state.lr_factor, loss, smoothed))
            watch(len(points))
            lowest = min(lowest, smoothed)
            if smoothed > DIVERGED * lowest:
                ended = "diverged"
            elif time.monotonic() >= deadline and len(points) < steps:
                ended = "time limit"
            if ended != "last rate" or len(points) == steps:
                break
            session.state.lr_factor = _rate(len(points) / (steps - 1))
    finally:
        session.close()
    if not points:
        raise DivergedError(source, f"the loss must be finite at the lowest rate, {LOW:g}")
    return LrRange(tuple(points), steps, ended, _rates(config.train.optimizer))


def _rates(optimizer: OptimizerConfig) -> dict[str, float]:
    """Return the learning rates that the schedule changes, by dotted key."""
    key = "train.optimizer"
    found = {f"{key}.lr": optimizer.lr}
    if isinstance(optimizer, MuonConfig):
        found[f"{key}.other.lr"] = optimizer.other.lr
    return found


def _of_steps(setup: TrainingSetup, steps: int) -> TrainingSetup:
    """Return the set-up with enough epochs for the steps, if none of their updates is skipped."""
    epochs = ceil(steps / setup.updates_per_epoch)
    return replace(setup, config=setup.config.with_keys("train", epochs=epochs))


class _Notes(Silent):
    """Passes on notes for the user and nothing else."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note

    def note(self, message: str) -> None:
        self._note(message)


def _losses(session: Session) -> Iterator[float]:
    """Run steps without end; yield the mean loss of each update's batches once it is made.

    A loss that is not finite is the last one. An update that `Step` skips yields none.

    Raises:
        DataError: an epoch has no batch to learn from.
    """
    setup, state, learner = session.setup, session.state, session.learner
    step, network = Step(setup, learner, session.mixer), EpochNetwork()
    loader, root, shards = session.data.train_loader, setup.dataset.root, setup.config.data.shards
    splitter = BatchSplitter(setup.ranks, loader, root, shards, mixed=session.mixer is not None)
    every, awaited = setup.config.train.accumulate, session.requests.awaited
    while True:
        network.before_epoch(session)
        order, update = epoch_order(setup.config, state.epoch, setup.dataset.train), -1
        learned = False
        for batch in splitter.batches(session.source, order, awaited, 0, state.epoch):
            if batch.number // every > update and state.sums.images:
                learner.finish_update_before(batch.number, state, session.engine.share)
                yield state.sums.mean_loss
                state.sums = EpochSums()
            update = batch.number // every
            try:
                step.run(session.engine, batch, state)
            except NotFiniteError:
                yield inf
                return
            learned = learned or state.sums.images > 0
        learner.finish_epoch(state, session.engine.share)
        check_classes(session.data)
        if not learned:
            raise nothing_learned(session.data, len(order), readable=update >= 0)
        if state.sums.images:
            yield state.sums.mean_loss
        state.sums = EpochSums()
        state.epoch += 1
