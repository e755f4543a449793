"""The training loop.

Nothing here is drawn from a stateful generator: the order of an epoch depends on (seed, epoch),
dropout on (seed, step, …), so that a checkpoint of the counters, the parameters and the
optimizer's arrays is all a resumed run needs to give the same bits.
"""

from __future__ import annotations

import time

import numpy as np

from cnn_cli.config import Config
from cnn_cli.data.normalization import Normalization
from cnn_cli.data.shards import bounds, touched
from cnn_cli.errors import DataError, DivergedError
from cnn_cli.inference.evaluate import Evaluation, evaluate
from cnn_cli.inference.validation import validation_group
from cnn_cli.nn.backends import open_kernels, training_backend
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.exchange import Exchange
from cnn_cli.nn.graph import IMAGE, Graph
from cnn_cli.nn.kernels.backend import Kernels
from cnn_cli.nn.loss import mean_divisor, target_weights
from cnn_cli.nn.mix import Mix
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array
from cnn_cli.nn.workspace import Workspace
from cnn_cli.optim.groups import freeze_graph, make_groups
from cnn_cli.optim.schedule import learning_rate
from cnn_cli.parallel.batches import BatchSplitter, RankBatch, sum_scores
from cnn_cli.parallel.ranks import Ranks
from cnn_cli.runs.checkpoint import Checkpoint
from cnn_cli.runs.folder import RunFolder
from cnn_cli.runs.results import EpochRow, TrainResult
from cnn_cli.runs.state import TrainingState
from cnn_cli.training.diagnose import find_origin
from cnn_cli.training.divergence import (
    MOST_ROLLBACKS,
    check_finite,
    go_back,
    rollback_note,
    step_error,
)
from cnn_cli.training.features import Features, cached_node, compute_features
from cnn_cli.training.initial_weights import initial_weights
from cnn_cli.training.learner import Learner, model_of
from cnn_cli.training.mixing import dominant_labels, make_mixer
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.precise_bn import estimate_statistics, wants_precise_bn
from cnn_cli.training.progress import Progress
from cnn_cli.training.requests import Requests, StopNow
from cnn_cli.training.saving import Saver
from cnn_cli.training.setup import (
    TrainingData,
    augment_training,
    check_classes,
    check_memory,
    choose_threads,
    class_weights,
    data_change,
    data_counts,
    deal_shards,
    epoch_order,
    fits_alone,
    measure_normalization,
    needs_company,
    open_network,
    open_training_data,
)
from cnn_cli.training.whitening import whiten


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
        ranks: Ranks,
    ) -> None:
        self.config = config
        self.ranks = ranks
        self.run = run
        self.progress = progress
        meta = {} if checkpoint is None else checkpoint.meta
        self.threads = choose_threads(options, meta, ranks)
        backend = training_backend(options.backend, meta.get("backend"))
        self.state = TrainingState()
        dataset, graph = open_network(config, source, ranks)
        check_memory(config, graph, source, self.threads, backend, len(dataset.train), ranks)
        self.needs_company = needs_company(graph)
        self.class_weights = class_weights(config, dataset, source)
        counts = data_counts(dataset)
        start = initial_weights(
            config, graph, dataset.classes, options.weights if checkpoint is None else None
        )
        if start.note is not None:
            progress.note(start.note)
        self.params = start.params
        self.learner = Learner(config, self.params)
        if checkpoint is not None:
            self._restore(checkpoint)
            place = str(dataset.root)
            if changed := data_change(meta.get("data"), counts, place):
                progress.note(changed)
        self.data: TrainingData = open_training_data(
            config, dataset, graph, self.threads, progress.note, ranks
        )
        if checkpoint is None:
            self.normalization = measure_normalization(
                config, self.data, self.threads, start.normalization, ranks
            )
            if warning := start.compare(self.normalization):
                progress.note(warning)
        else:
            self.normalization = Normalization(tuple(meta["mean"]), tuple(meta["std"]))
        augment_training(config, self.data, self.normalization)
        if checkpoint is None and options.weights is None:
            self._whiten()
        loader = self.data.train_loader
        self.mixer = make_mixer(config)
        self.splitter = BatchSplitter(
            ranks, loader, dataset.root, config.data.shards, mixed=self.mixer is not None
        )

        def kernels() -> Kernels:
            return open_kernels(backend, graph, config.train.dtype, progress.note)

        if ranks.rank == 0:
            self.kernels = kernels()
        ranks.first(lambda: None)  # they are compiled once, and the others find them
        if ranks.rank:
            self.kernels = kernels()
        self.features: Features | None = None
        self.engine = self._make_engine(graph, self.params, exchange=self._exchange)
        self.precise_bn = wants_precise_bn(config, graph)
        self.evaluated = self.params.copy() if self.precise_bn else self.learner.weights
        self.steps_per_epoch = -(-len(dataset.train) // config.train.batch_size)
        self.updates_per_epoch = -(-self.steps_per_epoch // config.train.accumulate)
        facts = {
            "threads": self.threads,
            "ranks": ranks.size,
            "backend": self.kernels.name,
            "data": counts,
        }
        self.saver = Saver(
            run if ranks.rank == 0 else None,
            config,
            self.data,
            self.normalization,
            facts,
            meta.get("bad_files", {}),
        )

    def _make_engine(
        self,
        graph: Graph,
        params: Parameters,
        start: int = IMAGE,
        exchange: Exchange | None = None,
    ) -> Engine:
        scale, shift = self.normalization.scale_and_shift()
        return Engine(
            graph,
            params,
            threads=self.threads,
            seed=self.config.train.seed,
            scale=scale,
            shift=shift,
            kernels=self.kernels,
            start=start,
            exchange=exchange,
            batch_size=self.config.train.batch_size,
        )

    @property
    def _exchange(self) -> Exchange | None:
        return self.ranks if self.ranks.size > 1 else None

    def _whiten(self) -> None:
        """Let the images say where a whitening convolution starts."""
        loader, seed = self.data.train_loader, self.config.train.seed
        if self.ranks.rank == 0:
            first_shard = deal_shards(self.config, loader.split)[0]
            whiten(self.params, loader, self.normalization, seed, first_shard)
        self.params.flat[...] = self.ranks.first(lambda: self.params.flat)
        self.params.touch()
        if self.learner.average is not None:
            self.learner.average.params.copy_from(self.params)

    def close(self) -> None:
        self.engine.close()
        self.data.close()
        self.progress.close()

    def run_epochs(self, requests: Requests) -> TrainResult:
        """Train until the end, or until `requests` has a reason to stop."""
        epochs, may_go_back = self.config.train.epochs, self.config.train.on_nan == "rollback"
        self.saver.config()
        self.state.note_event("start" if not self.state.log else "resume")
        if epochs == 0 or (may_go_back and self.ranks.first(lambda: not self.run.last.exists())):
            self._save_last()
            self.saver.reports(self.state)
        self.progress.start(epochs, self.state.epoch + 1, self.steps_per_epoch)
        stopped = None
        while not self.state.finished(epochs) and stopped is None:
            try:
                stopped = self._run_epoch(requests)
            except DivergedError as error:
                if not may_go_back or self.state.rollbacks >= MOST_ROLLBACKS:
                    raise
                self._go_back(error)
        if stopped is not None:
            self.state.note_event("stop", reason=stopped)
            within = self.state.batch > 0
            self._save_last(mid_epoch=within, scheduled=not within)
            self.saver.reports(self.state)
        return self.state.result(self.run.path, len(self.saver.bad_files), stopped)

    def _run_epoch(self, requests: Requests) -> str | None:
        """The rest of an epoch and its evaluation; the reason to stop, if one came up."""
        try:
            stopped = self._train_epoch(requests)
            if stopped is None:
                self._end_epoch(requests)
                if not self.state.finished(self.config.train.epochs):
                    stopped = requests.stop_reason()
        except StopNow as stop:
            stopped = stop.reason
        if stopped is not None:
            self.learner.check(self.state)
        return stopped

    def _go_back(self, error: DivergedError) -> None:
        """Take up the last scheduled checkpoint again, with half the learning rate."""
        self._restore(self.ranks.first(lambda: go_back(self.run.last, self.state)))
        self.saver.reports(self.state)
        self.progress.note(rollback_note(error, self.state))

    def _train_epoch(self, requests: Requests) -> str | None:
        """The steps of an epoch that are left; the reason to stop, if one came up."""
        config, state = self.config.train, self.state
        clock = time.perf_counter()
        self._freeze(requests)
        order = epoch_order(self.config, state.epoch, self.data.dataset.train)
        source = self.features or self.data.train_loader
        batches = self.splitter.batches(source, order, requests.awaited, state.batch, state.epoch)
        for batch in batches:
            self._finish_update_before(batch.number)
            if len(batch) > 1 or not self.needs_company:
                self._train_step(batch)
            if (batch.number + 1) % config.accumulate == 0:
                self._finish_update_before(batch.number + 1)
            now = time.perf_counter()
            state.sums.seconds += now - clock
            state.seconds += now - clock
            clock = now
            state.batch = batch.number + 1
            self.progress.step(
                state.epoch + 1, state.batch, len(batch), state.sums.mean_loss, state.sums.top1
            )
            every = config.checkpoint_every
            scheduled = every is not None and self._step % every == 0
            if requests.take_save() or scheduled:
                self._save_last(mid_epoch=True, scheduled=scheduled)
            if state.batch < self.steps_per_epoch and (reason := requests.stop_reason()):
                return reason
        self._finish_update_before(self.steps_per_epoch + config.accumulate)
        if not state.sums.images:
            place, images = self.data.dataset.root, len(order)
            raise DataError(place, "must hold an image that can be read", f"{images} that cannot")
        check_classes(self.data)
        return None

    def _freeze(self, requests: Requests) -> None:
        """Hold still what `train.freeze` says for this epoch; compute it once where that does."""
        config, epoch = self.config.train, self.state.epoch
        self.learner.optimizer.groups = make_groups(self.params, config, epoch)
        graph = freeze_graph(self.engine.graph, config, epoch)
        if graph is self.engine.graph:
            return
        loader = self.data.train_loader
        node = IMAGE
        # Neither augmented images nor estimated statistics can do with features.
        if loader.augment is None and self.mixer is None and self.evaluated is self.params:
            node = cached_node(graph, len(loader.split), self.params.dtype.itemsize)
        self.features = None
        if node != IMAGE:
            layer, images = graph.nodes[node].name, len(loader.split)
            self.progress.note(f"frozen up to {layer}: computed once for {images:,} images")
            with requests.at_once():
                shards = deal_shards(self.config, loader.split)
                wanted = touched(shards, self.ranks.rank, self.ranks.size)
                self.features = compute_features(self.engine, loader, node, wanted)
        self.engine.close()
        self.engine = self._make_engine(graph, self.params, node, self._exchange)

    @property
    def _step(self) -> int:
        """Steps that are done, counted by position: a batch left out counts as well."""
        return self._step_at(self.state.batch)

    def _step_at(self, batch: int) -> int:
        return self.state.epoch * self.steps_per_epoch + batch

    def _train_step(self, share: RankBatch) -> None:
        state = self.state
        mix = None
        if self.mixer is not None:
            start = share.number * self.config.train.batch_size
            mix = self.mixer.mix(state.epoch, start, len(share))
        divisor = mean_divisor(share.labels, self.class_weights, mixed=mix is not None)
        with np.errstate(all="ignore"):  # what overflows shows in the loss or the gradient
            own_loss, logits = self.engine.train_step(
                share.images,
                self._targets(share.labels, mix, share.own),
                divisor,
                step=self._step_at(share.number),
                first=share.own.start,
                mix=None if mix is None else share.mix(mix),
            )
        labels = dominant_labels(share.labels, mix)[share.own]
        right = (logits.argmax(axis=1) == labels).sum()
        loss, correct = np.sum(self.ranks.gather(np.array([own_loss, right])), axis=0).tolist()
        if not (np.isfinite(loss) and self.engine.gradient_is_finite):
            raise self.ranks.first(lambda: self._explain(share, divisor, mix, loss))
        for part in self.learner.optimizer.groups.frozen:
            self.engine.gradient[part] = 0
        if self.learner.accumulator is None:
            self._update(self.engine.gradient, share.number)
        else:
            self.learner.accumulator.add(self.engine.gradient, divisor, share.number)
        state.sums.loss += loss * len(share)
        state.sums.correct += int(correct)
        state.sums.images += len(share)

    def _targets(self, labels: Array, mix: Mix | None, rows: slice) -> Array:
        """Those of some rows of a batch."""
        partners = None
        if mix is not None:
            partners = labels[mix.partners[rows]], mix.ratios[rows]
        targets, _ = target_weights(
            labels[rows],
            len(self.data.dataset.classes),
            label_smoothing=self.config.train.label_smoothing,
            class_weights=self.class_weights,
            partners=partners,
            dtype=self.params.dtype,
        )
        return targets

    def _finish_update_before(self, batch: int) -> None:
        """Take the update that is pending, if a batch of that number belongs to a later one."""
        if self.learner.accumulator is not None and self.learner.accumulator.is_due(batch):
            self._update(self.learner.accumulator.take(), self.learner.accumulator.batch)

    def _update(self, gradient: Array, batch: int) -> None:
        """Move the parameters, as the batch of that number is the last one of an update."""
        config = self.config.train
        update = self.state.epoch * self.updates_per_epoch + batch // config.accumulate
        updates = config.epochs * self.updates_per_epoch
        self.learner.update(gradient, self._learning_rate(update), update + 1, updates)

    def _explain(
        self, share: RankBatch, divisor: float, mix: Mix | None, loss: float
    ) -> DivergedError:
        """The error of a step whose loss or gradient is not finite."""
        workspaces = self.engine.workspaces
        workspaces[:] = [Workspace() for _ in workspaces]  # makes room for another engine
        # The others' images are read again, and so are those that stood for features.
        images, origin = share.images, None
        sought = self.ranks.size == 1 or fits_alone(
            self.config, self.engine.graph, self.threads, self.kernels.name
        )
        if sought:
            if len(images) < len(share) or self.features is not None:
                loader = self.data.train_loader
                parts = loader.batches(share.indices, epoch=self.state.epoch)
                images = np.concatenate([part.images for part in parts])
            origin = find_origin(
                self._make_engine,
                self.params,
                images,
                self._targets(share.labels, mix, slice(None)),
                divisor,
                step=self._step_at(share.number),
                mix=mix,
            )
        files = [self.data.dataset.train.paths[i] for i in share.indices]
        return step_error(self.state, share.number + 1, loss, origin, files, sought=sought)

    def _learning_rate(self, update: int) -> float:
        config = self.config.train
        return self.state.lr_factor * learning_rate(
            config.scheduler,
            config.optimizer.lr,
            update,
            self.updates_per_epoch,
            config.epochs,
            self.state.rows,
        )

    def _evaluate(self) -> Evaluation | None:
        """Scores of this rank's validation images; None where there are none at all."""
        loader, ranks = self.data.val_loader, self.ranks
        if loader is None:
            return None
        places = bounds(len(loader.split), ranks.rank, ranks.size)
        return evaluate(self.engine, loader, self.evaluated, None, places)

    def _end_epoch(self, requests: Requests) -> None:
        """Evaluate, and save what was reached."""
        state = self.state
        self.learner.check(self.state)
        # A stop does not wait: a resumed run finds the epoch's steps done and evaluates again.
        if self.precise_bn:
            estimate_statistics(
                self.engine,
                self.learner.weights,
                self.evaluated,
                self.data,
                self.config,
                state.epoch,
                self.ranks,
                requests.awaited,
            )
            check_finite(self.evaluated, state)
        with requests.at_once():
            evaluation = self._evaluate()
        val_loss, val_top1 = None, None
        if evaluation is not None and self.data.val_loader is not None:
            cache = self.data.val_loader.cache
            totals = sum_scores(self.ranks, evaluation.totals, cache.bad, self.data.dataset.root)
            if totals is not None:
                val_loss, val_top1 = totals
        row = EpochRow(
            epoch=state.epoch + 1,
            train_loss=state.sums.mean_loss,
            train_top1=state.sums.top1,
            val_loss=val_loss,
            val_top1=val_top1,
            lr=self._learning_rate((state.epoch + 1) * self.updates_per_epoch - 1),
            seconds=state.sums.seconds,
            images_per_second=state.sums.images / max(state.sums.seconds, 1e-9),
        )
        best = state.end_epoch(row, self.config.train.early_stop)
        self.state.note_event("epoch", **row.as_dict())
        # The best one first: if only it gets written, the epoch is done again to the same bits.
        if best:
            groups = {"model": model_of(self.evaluated)}
            if val_top1 is not None:
                groups |= validation_group(evaluation, self.ranks)
            self.saver.best(self.state, self._step, groups)
        self._save_last()
        self.saver.reports(self.state)
        self.progress.epoch(row, best)

    def _save_last(self, *, mid_epoch: bool = False, scheduled: bool = True) -> None:
        self.learner.check(self.state)
        groups = self.learner.groups()
        if self.precise_bn and not mid_epoch and self.state.epoch:
            groups["precise_bn"] = self.evaluated.named_buffers()
        self.saver.last(self.state, self._step, groups, scheduled=scheduled)

    def _restore(self, checkpoint: Checkpoint) -> None:
        place = str(self.run.last)
        self.state = TrainingState.from_meta(checkpoint.meta, place)
        self.learner.load(checkpoint, place, self.state.batch)
