"""Several trainings one after the other, each a run of its own in one folder: of folds, or trials.

The folder is locked meanwhile, so that one process at a time trains them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from cnn_cli.config import Config
from cnn_cli.parallel.ranks import ALONE, Ranks
from cnn_cli.runs.folder import RunFolder
from cnn_cli.runs.results import TrainResult
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Progress
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train

FINAL = (None, "early stop")  # why a training has nothing left to do


@dataclass(slots=True, eq=False)
class Several:
    """What the trainings have in common.

    Attributes:
        source: the config's file, for messages.
        options: of the command line; `out`, `resume` and `overwrite` are not theirs.
        requests: looked at after each step.
        progress: makes a watcher for each training.
        ranks: that train together.
    """

    source: str
    options: TrainOptions
    requests: Requests
    progress: Callable[[], Progress]
    ranks: Ranks = ALONE
    _said: set[str] = field(default_factory=set)

    def train(
        self, config: Config, place: Path, title: str, until: int | None = None
    ) -> TrainResult:
        """Begin one of them, or go on with it.

        Args:
            config: its own.
            place: its run folder.
            title: of what is about to come.
            until: as `TrainOptions.until`.

        Raises:
            CnnError: in one of its kinds; what was saved before stays as it was.
        """
        own = replace(self.options, out=place, overwrite=False, resume=True, until=until)
        watcher = _Once(self.progress(), self._said)
        try:
            watcher.progress.note(title)
            return train(config, self.source, own, self.requests, watcher, self.ranks)
        finally:
            watcher.close()

    def note(self, message: str) -> None:
        """Something the user should know between trainings; the same thing once."""
        watcher = self.progress()
        try:
            _Once(watcher, self._said).note(message)
        finally:
            watcher.close()


class _Once:
    """A watcher that is told once what is the same for all trainings.

    Args:
        progress: that watcher.
        said: to those before it.
    """

    def __init__(self, progress: Progress, said: set[str]) -> None:
        self.progress = progress
        self._said = said
        self.start, self.step = progress.start, progress.step
        self.epoch, self.close = progress.epoch, progress.close

    def note(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self.progress.note(message)


@contextmanager
def locked_folder(folder: Path, ranks: Ranks, *, overwrite: bool = False) -> Iterator[RunFolder]:
    """The folder of several trainings, while this job alone trains in it.

    Args:
        overwrite: delete what is there.

    Raises:
        LockedError: another process trains in it.
        DataError: it cannot be made, locked or cleared.
    """
    writes = ranks.rank == 0
    with RunFolder(folder) if writes else nullcontext(RunFolder(folder)) as run:
        if overwrite and writes:
            run.clear()
        ranks.first(lambda: None)
        yield run
