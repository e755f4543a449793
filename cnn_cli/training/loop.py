"""The training loop.

Nothing here is drawn from a stateful generator: the order of an epoch depends on (seed, epoch),
dropout on (seed, step, …), so that a checkpoint of the counters, the parameters and the
optimizer's arrays is all a resumed run needs to give the same bits.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from cnn_cli import __version__
from cnn_cli.config import Config, config_text, plain_config
from cnn_cli.data.loader import Batch
from cnn_cli.errors import DivergedError
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.init import initialize
from cnn_cli.nn.layers.batch import BatchLayer
from cnn_cli.nn.loss import target_weights
from cnn_cli.nn.params import Parameters
from cnn_cli.rng import Purpose, generator
from cnn_cli.system import cpu_count
from cnn_cli.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from cnn_cli.training.classifier import Normalization
from cnn_cli.training.evaluate import Evaluation, evaluate
from cnn_cli.training.optimizer import clip_grad_norm, make_optimizer
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.precise_bn import estimate_statistics, wants_precise_bn
from cnn_cli.training.progress import EpochRow, Progress, TrainResult
from cnn_cli.training.requests import Requests
from cnn_cli.training.run import RunFolder
from cnn_cli.training.schedule import learning_rate
from cnn_cli.training.session import (
    Materials,
    check_memory,
    class_weights,
    data_counts,
    measure_normalization,
    open_materials,
    open_network,
)
from cnn_cli.training.state import EpochSums, TrainingState


class Trainer:
    """One session of a training: from its first step to the last one or a stop."""

    def __init__(
        self,
        config: Config,
        source: str,
        options: TrainOptions,
        run: RunFolder,
        progress: Progress,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.config = config
        self.run = run
        self.progress = progress
        self.backend = options.backend
        meta = {} if checkpoint is None else checkpoint.meta
        self.threads = options.threads or meta.get("threads") or cpu_count()
        self.state = TrainingState()
        dataset, graph = open_network(config, source)
        check_memory(config, graph, source, self.threads)
        self.class_weights = class_weights(config, dataset, source)
        self.counts = data_counts(dataset)
        self.params = Parameters(graph, config.train.dtype)
        initialize(self.params, config.train.seed, config.model.init)
        if options.weights is not None and checkpoint is None:
            start = load_checkpoint(options.weights)
            self.params.load(start.groups.get("model", {}), str(options.weights))
        self.optimizer = make_optimizer(config.train.optimizer, self.params)
        if checkpoint is not None:
            self._restore(checkpoint)
        self.materials: Materials = open_materials(
            config, dataset, graph, self.threads, progress.note
        )
        if checkpoint is None:
            self.normalization = measure_normalization(config, self.materials, self.threads)
        else:
            self.normalization = Normalization(tuple(meta["mean"]), tuple(meta["std"]))
        scale, shift = self.normalization.scale_and_shift()
        self.engine = Engine(
            graph,
            self.params,
            threads=self.threads,
            seed=config.train.seed,
            scale=scale,
            shift=shift,
        )
        self.evaluated = self.params.copy() if wants_precise_bn(config, graph) else self.params
        self.steps_per_epoch = -(-len(dataset.train) // config.train.batch_size)

    def close(self) -> None:
        self.engine.close()
        self.materials.close()
        self.progress.close()

    def run_epochs(self, requests: Requests) -> TrainResult:
        """Train until the end, or until `requests` has a reason to stop."""
        state, epochs = self.state, self.config.train.epochs
        self.run.write_config(config_text(self.config))
        self._note_event("start" if not state.log else "resume")
        if epochs == 0:
            self._save_last()
            self._write_reports()
        self.progress.start(epochs, state.epoch + 1, self.steps_per_epoch)
        stopped = None
        while not state.finished(epochs) and stopped is None:
            stopped = self._train_epoch(requests)
            if stopped is None:
                self._end_epoch()
                if not state.finished(epochs):
                    stopped = requests.stop_reason()
        if stopped is not None:
            self._note_event("stop", reason=stopped)
            self._save_last(mid_epoch=state.batch > 0)
            self._write_reports()
        return state.result(self.run.path, len(self.materials.bad_files), stopped)

    def _train_epoch(self, requests: Requests) -> str | None:
        """The steps of an epoch that are left; the reason to stop, if one came up."""
        config, state = self.config.train, self.state
        order = generator(config.seed, Purpose.SHUFFLE, state.epoch).permutation(
            len(self.materials.dataset.train)
        )
        clock = time.perf_counter()
        for batch in self.materials.train_loader.batches(order, state.batch):
            if self._can_train_on(batch):
                self._train_step(batch)
            now = time.perf_counter()
            state.sums.seconds += now - clock
            state.seconds += now - clock
            clock = now
            state.batch = batch.number + 1
            self.progress.step(
                state.epoch + 1, state.batch, len(batch), state.sums.mean_loss, state.sums.top1
            )
            every = config.checkpoint_every
            if requests.take_save() or (every and self._step % every == 0):
                self._save_last(mid_epoch=True)
            if state.batch < self.steps_per_epoch and (reason := requests.stop_reason()):
                return reason
        return None

    @property
    def _step(self) -> int:
        """Steps that are done, counted by position: a batch left out counts as well."""
        return self.state.epoch * self.steps_per_epoch + self.state.batch

    def _can_train_on(self, batch: Batch) -> bool:
        """Batch normalization needs more than one value per channel."""
        return len(batch) > 1 or not any(
            isinstance(node.layer, BatchLayer) and int(np.prod(node.layer.out_shape[:-1])) == 1
            for node in self.params.graph.nodes
        )

    def _train_step(self, batch: Batch) -> None:
        config, state = self.config.train, self.state
        step = self._step_of(batch)
        targets, divisor = target_weights(
            batch.labels,
            len(self.materials.dataset.classes),
            label_smoothing=config.label_smoothing,
            class_weights=self.class_weights,
            dtype=self.params.dtype,
        )
        loss, logits = self.engine.train_step(batch.images, targets, divisor, step=step)
        if not np.isfinite(loss):
            place = f"epoch {state.epoch + 1}, step {batch.number + 1}"
            rule = "the loss must be finite; try a smaller train.optimizer.lr"
            raise DivergedError(place, rule, loss)
        if config.clip_grad_norm is not None:
            clip_grad_norm(self.engine.gradient, config.clip_grad_norm)
        self.optimizer.step(self.engine.gradient, self._learning_rate(step))
        state.sums.loss += loss * len(batch)
        state.sums.correct += int((logits.argmax(axis=1) == batch.labels).sum())
        state.sums.images += len(batch)

    def _step_of(self, batch: Batch) -> int:
        return self.state.epoch * self.steps_per_epoch + batch.number

    def _learning_rate(self, step: int) -> float:
        config = self.config.train
        return learning_rate(
            config.scheduler, config.optimizer.lr, step, self.steps_per_epoch, config.epochs
        )

    def _end_epoch(self) -> None:
        """Evaluate, and save what was reached."""
        state = self.state
        self._check_weights()
        if self.evaluated is not self.params:
            estimate_statistics(
                self.engine, self.evaluated, self.materials, self.config, state.epoch
            )
        evaluation: Evaluation | None = None
        if self.materials.val_loader is not None:
            evaluation = evaluate(self.engine, self.materials.val_loader, self.evaluated)
            if not len(evaluation.labels):
                evaluation = None  # not one image could be read
        row = EpochRow(
            epoch=state.epoch + 1,
            train_loss=state.sums.mean_loss,
            train_top1=state.sums.top1,
            val_loss=None if evaluation is None else evaluation.loss,
            val_top1=None if evaluation is None else evaluation.top1,
            lr=self._learning_rate((state.epoch + 1) * self.steps_per_epoch - 1),
            seconds=state.sums.seconds,
            images_per_second=state.sums.images / max(state.sums.seconds, 1e-9),
        )
        best = row.val_top1 is None or state.best_top1 is None or row.val_top1 > state.best_top1
        if best:
            state.best_epoch, state.best_top1 = row.epoch, row.val_top1
        state.epoch += 1
        state.batch = 0
        state.sums = EpochSums()
        state.rows.append(row.as_dict())
        patience = self.config.train.early_stop
        if patience is not None and state.best_epoch is not None and row.val_top1 is not None:
            state.early_stopped = state.epoch - state.best_epoch >= patience
        self._note_event("epoch", **row.as_dict())
        # The best one first: if only it gets written, the epoch is done again to the same bits.
        if best:
            save_checkpoint(self.run.best, self._checkpoint({"model": _model(self.evaluated)}))
        self._save_last()
        self._write_reports()
        self.progress.epoch(row, best)

    def _check_weights(self) -> None:
        """Nothing is saved that could not be used."""
        if not (
            np.isfinite(self.params.flat).all() and np.isfinite(self.params.flat_buffers).all()
        ):
            place = f"epoch {self.state.epoch + 1}, step {self.state.batch}"
            raise DivergedError(
                place, "the weights must be finite; try a smaller train.optimizer.lr"
            )

    def _save_last(self, *, mid_epoch: bool = False) -> None:
        self._check_weights()
        groups = {"model": _model(self.params), "optimizer": self.optimizer.named_state()}
        if self.evaluated is not self.params and not mid_epoch and self.state.epoch:
            groups["precise_bn"] = self.evaluated.named_buffers()
        save_checkpoint(self.run.last, self._checkpoint(groups))

    def _checkpoint(self, groups: dict[str, Any]) -> Checkpoint:
        pre = self.materials.preprocess
        meta = {
            "program_version": __version__,
            "config": plain_config(self.config),
            "classes": list(self.materials.dataset.classes),
            "preprocess": {
                "height": pre.height,
                "width": pre.width,
                "channels": pre.channels,
                "resize_mode": pre.resize_mode,
            },
            "mean": list(self.normalization.mean),
            "std": list(self.normalization.std),
            "epoch": self.state.epoch,
            "step": self._step,
            "seed": self.config.train.seed,
            "threads": self.threads,
            "backend": self.backend,
            "data": self.counts,
            "bad_files": self.materials.bad_files,
            "state": self.state.as_meta(),
        }
        return Checkpoint(meta, groups)

    def _restore(self, checkpoint: Checkpoint) -> None:
        place = str(self.run.last)
        self.state = TrainingState.from_meta(checkpoint.meta, place)
        self.params.load(checkpoint.groups.get("model", {}), place)
        self.optimizer.load_named_state(checkpoint.groups.get("optimizer", {}), place)
        before = checkpoint.meta.get("data")
        if before != self.counts and isinstance(before, dict):
            self.progress.note(
                f"the data changed since the run began: {before.get('train')} training and "
                f"{before.get('val')} validation images then, "
                f"{self.counts['train']} and {self.counts['val']} now"
            )

    def _note_event(self, event: str, **values: Any) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.state.log.append({"time": stamp, "event": event, **values})

    def _write_reports(self) -> None:
        self.run.write_reports(self.state.rows, self.state.log)
        self.run.write_bad_files(self.materials.bad_files)


def _model(params: Parameters) -> dict[str, Any]:
    return params.named() | params.named_buffers()
