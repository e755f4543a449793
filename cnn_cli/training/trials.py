"""The trials of a sweep: their values, and how far each has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from cnn_cli.config import Config, TrainConfig, plain_config
from cnn_cli.config.load import ConfigFile
from cnn_cli.config.search import Dimension, Range
from cnn_cli.config.yaml12 import parse_yaml
from cnn_cli.errors import CnnError, ConfigError
from cnn_cli.rng import Purpose, generator
from cnn_cli.runs.checkpoint import LAST, load_checkpoint
from cnn_cli.runs.folder import RunFolder, differences
from cnn_cli.runs.results import EpochRow
from cnn_cli.runs.state import TrainingState, is_better

# Keys that must be the same in all trials, which could not be compared otherwise.
SHARED = (
    *(f"data.{key}" for key in ("root", "columns", "val_split", "test_split", "group", "fold")),
    *(f"data.{key}" for key in ("classes", "labels", "label_sep")),
    *(f"train.{key}" for key in ("seed", "epochs", "monitor", "keep")),
)
ENOUGH_TO_LIST = 10_000  # up to this many combinations, none is drawn twice
MISSES = 1_000  # consecutive draws without a new trial after which the search ends
TRIES = 6  # values of the other keys to try with one value before it counts as invalid

Words = tuple[str, ...]


class Candidates:
    """Draws the values of the trials, the same in every session.

    The first trial has the config's own values if they are in the search space.

    Args:
        file: the config's file.
        overrides, settings: for all trials.
        space: the search space.
        check: raises the reason why a config cannot be trained.
        note: receives notes about combinations that are skipped.

    Attributes:
        base: the config without searched values.
        own: the config's own values if they are in the search space.
    """

    def __init__(
        self,
        file: ConfigFile,
        overrides: Sequence[str],
        settings: Mapping[str, Any],
        space: Sequence[Dimension],
        check: Callable[[Config], None],
        note: Callable[[str], None],
    ) -> None:
        self._file = file
        self._overrides = overrides
        self._settings = settings
        self._check = check
        self._note = note
        self.space = space
        self.base = file.config(overrides, settings)
        own = tuple(word for each in space if (word := each.of(self.base)) is not None)
        self.own = own if len(own) == len(space) else None
        self._drawn: list[Words] = [] if self.own is None else [self.own]
        self._draws: Iterator[Words] | None = None
        self._told: set[str] = set()

    def config(self, words: Words) -> Config:
        """Return the config of a trial.

        Raises:
            ConfigError: its values make no valid config.
        """
        if words == self.own:
            return self.base
        pairs = zip(self.space, words, strict=True)
        changed = [f"{each.key}={word}" for each, word in pairs]
        return self._file.config([*self._overrides, *changed], self._settings)

    def check_values(self) -> None:
        """Determine which ranges are of integers; refuse what leaves nothing to train.

        Raises:
            CnnError: the first reason why a value is invalid, or if no combination can be trained,
                why the first one cannot.
        """
        space = list(self.space)
        for i, each in enumerate(space):
            for word in each.ends:
                if (problem := self._fault_of(i, word)) is not None:
                    raise problem
            if isinstance(each, Range) and each.between is not None:
                whole = self._fault_of(i, each.between) is not None
                space[i] = replace(each, whole=whole)
        self.space = space
        problems: list[CnnError] = []
        if self.own is None and next(self._possible(problems.append), None) is None:
            raise problems[0]

    def restore(self, drawn: Sequence[Words]) -> None:
        """Give the first trials the values that they began with in earlier sessions.

        Which draws can be trained may differ since, for example with the memory.
        """
        self._drawn = list(drawn) or self._drawn

    def get(self, index: int) -> Words | None:
        """Return the values of a trial, counted from 0; None if there are no more."""
        if self._draws is None:
            self._draws = self._possible(self._tell)
        while index >= len(self._drawn):
            words = next(self._draws, None)
            if words is None:
                return None
            self._drawn.append(words)
        return self._drawn[index]

    def _tell(self, problem: CnnError) -> None:
        """Report why values are skipped, once for each key or file at fault."""
        if problem.place not in self._told:
            self._told.add(problem.place)
            self._note(f"skipped, like others of its kind: {problem.line()}")

    def _possible(self, skipped: Callable[[CnnError], None]) -> Iterator[Words]:
        """Yield draws, without repetitions and without those that cannot be trained.

        Args:
            skipped: called with the reason for each of the latter.
        """
        seen, missed = set(self._drawn), 0
        restored = set(self._drawn) - {self.own}
        for places in self._places():
            words = tuple(each.draw(u) for each, u in zip(self.space, places, strict=True))
            if words in restored:
                restored.remove(words)
                missed = 0
                continue
            problem = None if words in seen else self._problem(words)
            if words in seen or problem is not None:
                missed += 1
                if problem is not None:
                    skipped(problem)
                if missed == MISSES:
                    return
                continue
            missed = 0
            seen.add(words)
            yield words

    def _places(self) -> Iterator[Sequence[float]]:
        """Yield points of the unit cube, one coordinate per key, endlessly; or each combination
        once.
        """
        seed, counts = self.base.train.seed, [each.count for each in self.space]
        if prod(counts) <= ENOUGH_TO_LIST:
            sides = [int(count) for count in counts]
            order = generator(seed, Purpose.SWEEP).permutation(prod(sides))
            for place in np.transpose(np.unravel_index(order, sides)):
                yield ((place + 0.5) / sides).tolist()
            return
        draw = 0
        while True:
            yield generator(seed, Purpose.SWEEP, draw).random(len(counts)).tolist()
            draw += 1

    def _fault_of(self, i: int, word: str) -> CnnError | None:
        """Return why the i-th key has no valid config with a value, tried with some values of the
        other keys; else None.
        """
        first: CnnError | None = None
        for number in range(TRIES):
            words = [each.ends[number % len(each.ends)] for each in self.space]
            words[i] = word
            try:
                self._valid(tuple(words))
            except CnnError as error:
                first = first or error.unraised()
            else:
                return None
        return first

    def _problem(self, words: Words) -> CnnError | None:
        """Return why values cannot be trained, or None."""
        try:
            self._check(self._valid(words))
        except CnnError as error:
            return error.unraised()
        return None

    def _valid(self, words: Words) -> Config:
        """Return the config of a trial that can be compared with the others.

        Raises:
            ConfigError: its values make no valid config, or one for other images.
        """
        config = self.config(words)
        changed = differences(plain_config(self.base), plain_config(config), ())
        for key in changed:
            if any(f"{key}.".startswith(f"{shared}.") for shared in SHARED):
                rule = "must be the same for all trials, or they could not be compared"
                raise ConfigError(f"{self._file.source}: {key}", rule)
        return config


@dataclass(slots=True)
class Trial:
    """One choice of values, and how far it has come.

    Attributes:
        number: counted from 1.
        run: its run folder.
        words: its values by key, as they could be typed.
        epochs: epochs done.
        scores: the best row up to each rung reached; None if it failed there.
        failed: why it cannot be promoted; None if nothing failed.
        finished: whether it ended for good, at its last epoch or earlier.
        seconds: time spent training.
    """

    number: int
    run: Path
    words: Mapping[str, str]
    epochs: int = 0
    scores: list[EpochRow | None] = field(default_factory=list)
    failed: str | None = None
    finished: bool = False
    seconds: float = 0.0

    @property
    def best(self) -> EpochRow | None:
        """Its best epoch up to the last rung reached."""
        return next((row for row in reversed(self.scores) if row is not None), None)

    @property
    def status(self) -> str:
        return "diverged" if self.failed else "finished" if self.finished else "stopped"

    @property
    def values(self) -> dict[str, Any]:
        """Its values by key, as in a config."""
        return {key: parse_yaml(word, key) for key, word in self.words.items()}

    def read(self, rungs: Sequence[int], train: TrainConfig, failed: str | None) -> None:
        """Read how far its run has come.

        Args:
            rungs: epochs after which trials are compared.
            train: of its config, with the metric that compares them.
            failed: why it failed after that, if it did.

        Raises:
            DataError: its checkpoint cannot be read.
        """
        state = self._state()
        rows = [EpochRow.of(row) for row in state.rows]
        self.epochs, self.seconds = state.epoch, state.seconds
        self.finished, self.failed = state.finished(rungs[-1]), failed
        came = [rung for rung in rungs if state.epoch >= rung or state.early_stopped]
        self.scores = [_kept(rows[:rung], train) for rung in came]
        if failed is not None:
            self.scores.append(None)

    def write_reports(self) -> None:
        """Write the reports that a kill after the checkpoint may have left out.

        Raises:
            CnnError: the run is locked, or cannot be written.
        """
        state, run = self._state(), RunFolder(self.run)
        if state.log and not run.has_reports(state.rows, state.log):
            with run:
                run.write_reports(state.rows, state.log)

    def _state(self) -> TrainingState:
        path = self.run / LAST
        if not path.exists():
            return TrainingState()
        return TrainingState.from_meta(load_checkpoint(path, ()).meta, str(path))


def _kept(rows: Sequence[EpochRow], train: TrainConfig) -> EpochRow:
    """Return the row of the epoch that `best.npz` contains after these."""
    if train.keeps_last:
        return rows[-1]
    best = rows[0]
    for row in rows[1:]:
        if is_better(row, best, train.monitored):
            best = row
    return best
