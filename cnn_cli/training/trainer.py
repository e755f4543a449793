"""The training loop: epochs, batches, stops.

No random generator has state: the order of an epoch depends on (seed, epoch), dropout on (seed,
step, …). So a checkpoint of the counters, the parameters and the optimizer's arrays is enough to
resume with the same bits.
"""

from __future__ import annotations

import time

from cnn_cli.errors import DivergedError
from cnn_cli.parallel.batches import BatchSplitter
from cnn_cli.runs.results import TrainResult
from cnn_cli.training.diagnose import explain
from cnn_cli.training.epoch_network import EpochNetwork
from cnn_cli.training.precise_bn import PreciseStatistics
from cnn_cli.training.requests import StopNow
from cnn_cli.training.saving import Saver
from cnn_cli.training.session import Hook, Session
from cnn_cli.training.step import NotFiniteError, Step, nothing_learned
from cnn_cli.training.training_data import check_classes, epoch_order
from cnn_cli.training.validating import Validation


class Trainer:
    """Trains from the first step of a session to its last one, or to a stop.

    Attributes:
        hooks: the hooks of the loop, in the order of their calls.
    """

    def __init__(self, session: Session) -> None:
        setup, data = session.setup, session.data
        self.session = session
        self.saver = Saver(session)
        self.hooks: list[Hook] = [
            EpochNetwork(),
            PreciseStatistics(session),
            Validation(),
            self.saver,
        ]
        if setup.config.train.tensorboard and setup.ranks.rank == 0:
            from cnn_cli.training.tensorboard import TensorBoard

            self.hooks.append(TensorBoard())
        self.step = Step(setup, session.learner, session.mixer)
        self.splitter = BatchSplitter(
            setup.ranks,
            data.train_loader,
            setup.dataset.root,
            setup.config.data.shards,
            mixed=session.mixer is not None,
        )

    def run_epochs(self) -> TrainResult:
        """Train until the last epoch or until there is a reason to stop."""
        session, epochs = self.session, self.session.setup.epochs
        self.saver.start(session)
        stopped = None
        while not session.state.finished(epochs) and stopped is None:
            try:
                stopped = self._run_epoch()
            except DivergedError as error:
                self.saver.roll_back(session, error)
        if stopped is not None:
            self.saver.stop(session, stopped)
        train, bad_files = session.setup.config.train, self.saver.bad_files
        return session.state.result(session.run.path, train, bad_files, stopped)

    def _run_epoch(self) -> str | None:
        """Run the rest of an epoch and its evaluation; return a reason to stop, or None."""
        session = self.session
        try:
            stopped = self._train_epoch()
            if stopped is None:
                self._end_epoch()
                if not session.state.finished(session.setup.epochs):
                    stopped = session.requests.stop_reason()
        except StopNow as stop:
            stopped = stop.reason
        if stopped is not None:
            session.learner.check(session.state)
        return stopped

    def _train_epoch(self) -> str | None:
        """Run the remaining steps of an epoch; return a reason to stop, or None."""
        session, setup, state = self.session, self.session.setup, self.session.state
        clock = time.perf_counter()
        for hook in self.hooks:
            hook.before_epoch(session)
        order = epoch_order(setup.config, state.epoch, setup.dataset.train)
        awaited = session.requests.awaited
        for batch in self.splitter.batches(
            session.source, order, awaited, state.batch, state.epoch
        ):
            try:
                self.step.run(session.engine, batch, state)
            except NotFiniteError as failure:
                raise explain(session, batch, failure) from None
            now = time.perf_counter()
            state.sums.seconds += now - clock
            state.seconds += now - clock
            clock = now
            state.batch = batch.number + 1
            for hook in self.hooks:
                hook.after_step(session, len(batch))
            if state.batch < setup.steps_per_epoch and (reason := session.requests.stop_reason()):
                return reason
        session.learner.finish_epoch(state, session.engine.share)
        if not state.sums.images:
            raise nothing_learned(session.data, len(order), readable=state.batch > 0)
        check_classes(session.data)
        return None

    def _end_epoch(self) -> None:
        """Evaluate and save.

        A stop interrupts it: a resumed run finds the epoch's steps done and evaluates again.
        """
        self.session.learner.check(self.session.state)
        for hook in self.hooks:
            hook.after_epoch(self.session)

    def close(self) -> None:
        try:
            for hook in self.hooks:
                hook.close()
        finally:
            self.session.close()
