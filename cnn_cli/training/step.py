"""One step of training: targets, gradients, update."""

from __future__ import annotations

import numpy as np

from cnn_cli.data.targets import Labels, has_guessed
from cnn_cli.errors import DataError, none_readable
from cnn_cli.nn.layers.batch import needs_company
from cnn_cli.nn.loss import mean_divisor, target_weights
from cnn_cli.nn.mix import Mix
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.nn.types import Array
from cnn_cli.parallel.batches import RankBatch
from cnn_cli.runs.state import TrainingState
from cnn_cli.training.learner import Learner
from cnn_cli.training.mixing import Mixer, dominant_labels
from cnn_cli.training.setup import TrainingSetup
from cnn_cli.training.training_data import TrainingData


class NotFiniteError(Exception):
    """The loss or the gradient of a step is not finite; nothing was updated.

    Attributes:
        loss: mean loss of the whole batch.
        mix: the mix of the batch, or None.
        divisor: the result of `loss.mean_divisor`.
    """

    def __init__(self, loss: float, mix: Mix | None, divisor: float) -> None:
        super().__init__(loss)
        self.loss = loss
        self.mix = mix
        self.divisor = divisor


class Step:
    """Runs the steps of one training.

    Args:
        setup: the set-up of the training.
        learner: the learner to update.
        mixer: mixes the batches; None without mixing.
    """

    def __init__(self, setup: TrainingSetup, learner: Learner, mixer: Mixer | None) -> None:
        self._setup = setup
        self._learner = learner
        self._mixer = mixer

    def run(self, engine: TrainingEngine, batch: RankBatch, state: TrainingState) -> None:
        """Learn from a batch.

        Args:
            engine: computes the gradient.
            batch: this rank's part of the batch.
            state: gives epoch and learning rate; loss and correct predictions are added to its
                sums.

        Raises:
            NotFiniteError: the loss or the gradient is not finite.
        """
        setup, learner = self._setup, self._learner
        learner.finish_update_before(batch.number, state, engine.share)
        if len(batch) > 1 or not needs_company(node.layer for node in engine.graph.nodes):
            mix = self._mix(batch, state.epoch)
            divisor = mean_divisor(batch.labels, setup.target_weights, mixed=mix is not None)
            targets = step_targets(setup, batch.labels, mix, batch.own)
            loss, correct = self._gradient(engine, batch, targets, divisor, mix, state.epoch)
            if not (np.isfinite(loss) and engine.gradient_is_finite):
                raise NotFiniteError(loss, mix, divisor)
            learner.learn(engine.gradient, divisor, batch.number, state, engine.share)
            state.sums.loss += loss * len(batch)
            state.sums.correct += correct
            state.sums.images += len(batch)
        learner.finish_update_before(batch.number + 1, state, engine.share)

    def _mix(self, batch: RankBatch, epoch: int) -> Mix | None:
        if self._mixer is None or self._setup.trains_head_alone(epoch):
            return None
        config = self._setup.config
        position = batch.number * config.train.batch_size
        return self._mixer.mix(epoch, position, len(batch), config.image_size(epoch))

    def _gradient(
        self,
        engine: TrainingEngine,
        batch: RankBatch,
        targets: Array,
        divisor: float,
        mix: Mix | None,
        epoch: int,
    ) -> tuple[float, int]:
        """Compute the gradient; return the batch's mean loss and its number of correct top-1
        predictions, over all ranks.
        """
        # Overflow shows in the loss or the gradient, which are checked.
        with np.errstate(all="ignore"):
            own_loss, logits = engine.train_step(
                batch.images,
                targets,
                divisor,
                step=self._setup.step_number(epoch, batch.number),
                offset=batch.own.start,
                mix=None if mix is None else batch.mix(mix),
            )
        labels = dominant_labels(batch.labels, mix)[batch.own]
        right = has_guessed(labels, logits.argmax(axis=1)).sum()
        own = np.array([own_loss, right])
        loss, correct = np.sum(self._setup.ranks.gather(own), axis=0).tolist()
        return loss, int(correct)


def nothing_learned(data: TrainingData, images: int, *, readable: bool) -> DataError:
    """Return the error for an epoch without a batch to learn from.

    Args:
        data: the images.
        images: number of training images.
        readable: whether there was a batch; batchnorm cannot learn from a single image.
    """
    root = data.dataset.root
    if readable:
        rule = "must hold two readable images in a batch, for batchnorm to learn from"
        return DataError(root, rule, "one per batch")
    return none_readable(root, images, data.train_loader.cache.errors())


def step_targets(setup: TrainingSetup, labels: Labels, mix: Mix | None, rows: slice) -> Array:
    """Return the targets (rows, classes) of some rows of a batch.

    Args:
        labels: labels of the whole batch.
        mix: mix of the whole batch.
        rows: the rows to return.
    """
    partners = None
    if mix is not None:
        partners = labels[mix.partners[rows]], mix.ratios[rows]
    targets, _ = target_weights(
        labels[rows],
        len(setup.dataset.classes),
        label_smoothing=setup.config.train.label_smoothing,
        class_weights=setup.target_weights,
        partners=partners,
        dtype=setup.config.train.dtype,
    )
    return targets
