"""The state of a sweep: its trials, what to train next, and the files in its folder."""

from __future__ import annotations

import csv
import io
import json
import time
from dataclasses import dataclass
from pathlib import Path

from cnn_cli import safe_csv
from cnn_cli.config import Config, config_text, plain_config, validate_config
from cnn_cli.errors import ConfigError, DataError, printable
from cnn_cli.metric_names import Metric
from cnn_cli.runs.checkpoint import LAST, SWEEP, load_checkpoint
from cnn_cli.runs.folder import (
    BEST_CONFIG,
    RESUMABLE,
    TRIALS,
    RunFolder,
    differences,
    trial_folder,
)
from cnn_cli.runs.results import EpochRow
from cnn_cli.runs.state import is_better
from cnn_cli.training.halving import Halving, Left, rungs
from cnn_cli.training.requests import Requests, StopReason
from cnn_cli.training.resumed_data import change_since, receipt_of
from cnn_cli.training.setup import TrainingSetup
from cnn_cli.training.trials import Candidates, Trial, Words

BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class SweepResult:
    """The result of a sweep.

    Attributes:
        run: the sweep's folder.
        keys: the searched keys.
        monitor: the metric that compares trials.
        rungs: the epochs after which trials are compared.
        trials: trials that reached a rung or failed, in order; none on ranks other than 0.
        ranking: trials that did not fail, best first: by rung reached, then by value.
        own: the trial with the config's own values, if there is one.
        stopped: None if nothing is left to do; else `BUDGET` or a `StopReason`.
    """

    run: Path
    keys: tuple[str, ...]
    monitor: Metric
    rungs: tuple[int, ...]
    trials: list[Trial]
    ranking: list[Trial]
    own: Trial | None
    stopped: str | None

    @property
    def best(self) -> Trial | None:
        return self.ranking[0] if self.ranking else None

    def as_csv(self) -> bytes:
        """Return one CSV row per trial, in order; the searched keys are the last columns."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        column = self.monitor.column
        head = ["trial", "status", "epochs", "best_epoch", column, "val_loss", *self.keys]
        table.writerow(map(safe_csv.cell, dict.fromkeys(head)))
        for trial in self.trials:
            best = {} if trial.best is None else trial.best.as_dict()
            cells = {
                "trial": trial.number,
                "status": trial.status,
                "epochs": trial.epochs,
                "best_epoch": best.get("epoch"),
                column: best.get(column),
                "val_loss": best.get("val_loss"),
            }
            for key, value in trial.values.items():
                number = isinstance(value, int | float) and not isinstance(value, bool)
                cells[key] = value if number else safe_csv.cell(trial.words[key])
            table.writerow(cells.values())
        return text.getvalue().encode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Job:
    """What to train next: a trial up to a rung.

    Attributes:
        number: number of the trial, from 1.
        words: its values.
        until: epochs to train.
        title: a title for the user.
    """

    number: int
    words: Words
    until: int
    title: str


class SweepState:
    """The state of a sweep on rank 0, which decides for all ranks.

    Args:
        candidates: gives the values of trials.
        typed: the search space as typed.
        run: the sweep's folder.
        limit: the largest number of trials; None for no limit.
    """

    def __init__(
        self, candidates: Candidates, typed: list[str], run: RunFolder, limit: int | None
    ) -> None:
        train = candidates.base.train
        self._candidates = candidates
        self._typed = typed
        self._run = run
        self._limit = limit
        self._train = train
        self._rungs = rungs(train.epochs)
        self._halving = Halving[EpochRow](
            len(self._rungs), lambda row, other: is_better(row, other, train.monitored)
        )
        self._trials: list[Trial] = []
        self._failed: dict[str, str] = {}
        self._begun: list[Words] = []
        self._seconds, self._epochs = 0.0, 0  # of this session

    def open(self, source: str, setup: TrainingSetup) -> float:
        """Begin or resume the sweep; return the seconds of training so far.

        Args:
            source: the config's file, for messages.
            setup: the set-up of a trial, with the images.

        Raises:
            ConfigError: the folder contains another sweep.
            DataError: the sweep cannot be read or written, or the images changed since.
        """
        path = self._run.path / SWEEP
        self._run.check_writable()
        if not path.exists():
            self._write_facts()
        else:
            base = self._candidates.base
            self._failed, self._begun = _read_facts(path, base, self._typed, source)
            self._candidates.restore(self._begun)
            self._check_images(setup)
        while (words := self._candidates.get(len(self._trials))) is not None:
            trial = self._trial(len(self._trials) + 1, words)
            if not trial.scores:
                break
            trial.write_reports()
            self._trials.append(trial)
        self._write_results()
        return sum(trial.seconds for trial in self._trials)

    def _check_images(self, setup: TrainingSetup) -> None:
        """Refuse to resume a sweep after its images changed.

        Raises:
            DataError: they changed since a trial was trained, or between its sessions.
        """
        places = [self.place(number) for number in range(1, len(self._begun) + 1)]
        begun = [place for place in places if (place / LAST).exists()]
        receipt = receipt_of(setup.config, setup.dataset) if begun else None
        for place in begun:
            meta = load_checkpoint(place / LAST, ()).meta
            changed = change_since(meta, setup.data_facts, receipt, place)
            if changed is not None:
                rule = (
                    f"the images must be those that {place.name} was trained with, to compare "
                    "trials; another --out begins a new sweep"
                )
                raise DataError(self._run.path, rule, changed)

    def next_job(self, requests: Requests) -> Job | StopReason | None:
        """Return the next job; or the reason for stopping, or None if nothing is left."""
        reason = requests.stop_reason()
        if reason is not None:
            return reason
        words = None
        if self._limit is None or len(self._trials) < self._limit:
            words = self._candidates.get(len(self._trials))
        left: Left = "promotions" if words is None else "trials"
        if requests.deadline is not None and self._is_late(requests.deadline - time.monotonic()):
            left = "one"
        scores = [trial.scores for trial in self._trials]
        chosen = self._halving.promotion(scores, left)
        if chosen is not None:
            trial = self._trials[chosen]
            values = tuple(trial.words.values())
            return self._job(trial.number, values, len(trial.scores))
        if words is None:
            return None
        if len(self._begun) == len(self._trials):
            self._begun.append(words)
            self._write_facts()
        return self._job(len(self._trials) + 1, words, 0)

    def _is_late(self, left: float) -> bool:
        """Whether time is left only for the first trial that runs to the end."""
        if any(len(trial.scores) == len(self._rungs) for trial in self._trials):
            return False
        return left < (self._rungs[0] + self._rungs[-1]) * self._seconds / max(self._epochs, 1)

    def _job(self, number: int, words: Words, rung: int) -> Job:
        until, whole = self._rungs[rung], self._rungs[-1]
        named = zip(self._candidates.space, words, strict=True)
        values = ", ".join(f"{each.key}={word}" for each, word in named)
        return Job(number, words, until, f"trial {number}, to epoch {until} of {whole}: {values}")

    def take(self, job: Job, failed: str | None, seconds: float) -> None:
        """Record the result of a job, and write it.

        Args:
            failed: why it failed; None if it did not.
            seconds: the time it took.
        """
        if failed is not None:
            self._failed[str(job.number)] = failed
            self._write_facts()
        before = self._trials[job.number - 1].epochs if job.number <= len(self._trials) else 0
        trial = self._trial(job.number, job.words)
        self._seconds += seconds
        self._epochs += trial.epochs - before
        if job.number <= len(self._trials):
            self._trials[job.number - 1] = trial
        elif trial.scores:
            self._trials.append(trial)
        self._write_results()

    def _trial(self, number: int, words: Words) -> Trial:
        keys = (each.key for each in self._candidates.space)
        named = dict(zip(keys, words, strict=True))
        trial = Trial(number, self.place(number), named)
        trial.read(self._rungs, self._train, self._failed.get(str(number)))
        return trial

    def place(self, number: int) -> Path:
        """Return the run folder of a trial, counted from 1."""
        return trial_folder(self._run.path, number)

    def result(self, stopped: str | None) -> SweepResult:
        """Return the state of the sweep as a result, stopped for that reason."""
        own = self._trials[0] if self._trials and self._candidates.own is not None else None
        keys = tuple(each.key for each in self._candidates.space)
        return SweepResult(
            run=self._run.path,
            keys=keys,
            monitor=self._train.monitored,
            rungs=self._rungs,
            trials=self._trials,
            ranking=self._ranking(),
            own=own,
            stopped=stopped,
        )

    def _ranking(self) -> list[Trial]:
        found = []
        scores = [trial.scores for trial in self._trials]
        for rung in reversed(range(len(self._rungs))):
            came = (self._trials[i] for i in self._halving.ranking(scores, rung))
            found += [trial for trial in came if len(trial.scores) == rung + 1]
        return found

    def _write_facts(self) -> None:
        facts = {
            "config": plain_config(self._candidates.base),
            "space": self._typed,
            "trials": self._begun,
            "failed": self._failed,
        }
        self._run.write(SWEEP, (json.dumps(facts, indent=1) + "\n").encode())

    def _write_results(self) -> None:
        result = self.result(None)
        self._run.write(TRIALS, result.as_csv())
        if (best := result.best) is not None and best.best is not None:
            monitor = self._train.monitored
            value = best.best.value(monitor)
            said = f"trial {best.number}: {monitor.text} {value} after {best.epochs} epochs"
            config = self._candidates.config(tuple(best.words.values()))
            self._run.write(BEST_CONFIG, f"# {printable(said)}\n{config_text(config)}".encode())


def _read_facts(
    path: Path, base: Config, typed: list[str], source: str
) -> tuple[dict[str, str], list[Words]]:
    """Return the failures of a sweep's trials by number, and the values of all that began.

    Raises:
        ConfigError: it is another sweep.
        DataError: it cannot be read.
    """
    try:
        facts = json.loads(path.read_bytes())
        before = plain_config(validate_config(facts["config"], str(path)))
        space = [str(each) for each in facts["space"]]
        failed = {str(key): str(value) for key, value in facts["failed"].items()}
        begun = [tuple(map(str, words)) for words in facts["trials"]]
        if any(len(words) != len(space) for words in begun):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(path, "must be as cnn sweep wrote it") from error
    allowed = [key for key in RESUMABLE if key != "train.epochs"]
    keys = differences(before, plain_config(base), allowed)
    others = [word for word in typed if word not in space]
    others += [word for word in space if word not in typed]
    if keys or others or typed != space:
        rule = "a resumed sweep keeps its config and the values it searches"
        raise ConfigError(source, rule, f"another {', '.join(keys or others or ['order'])}")
    return failed, begun
