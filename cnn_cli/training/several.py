"""Several trainings in one folder, one after another: of folds or of a sweep's trials.

The folder is locked, so that only one process trains them.
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

FINAL = (None, "early stop")  # states of a training with nothing left to do


@dataclass(slots=True, eq=False)
class Trainings:
    """The trainings of one folder, and what they have in common.

    Attributes:
        source: the config's file, for messages.
        options: options of the command line; `out`, `resume` and `overwrite` are ignored.
        requests: checked after each step.
        progress: makes a progress display for each training.
        ranks: the ranks that train together.
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
        """Begin or resume one of the trainings.

        Args:
            config: its config.
            place: its run folder.
            title: its title for the user.
            until: as in `TrainOptions.until`.

        Raises:
            CnnError: any of its kinds; files saved before stay unchanged.
        """
        own = replace(self.options, out=place, overwrite=False, resume=True, until=until)
        watcher = _Once(self.progress(), self._said)
        try:
            watcher.progress.note(title)
            return train(config, self.source, own, self.requests, watcher, self.ranks)
        finally:
            watcher.close()

    def note(self, message: str) -> None:
        """Report something to the user between trainings; repeated notes are dropped."""
        watcher = self.progress()
        try:
            _Once(watcher, self._said).note(message)
        finally:
            watcher.close()


class _Once:
    """A progress display that drops notes which an earlier training has already reported.

    Args:
        progress: the display.
        said: notes already reported.
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
    """Lock the folder of several trainings for this job.

    Args:
        overwrite: delete its content.

    Raises:
        LockedError: another process trains in it.
        DataError: it cannot be created, locked or cleared.
    """
    writes = ranks.rank == 0
    with RunFolder(folder) if writes else nullcontext(RunFolder(folder)) as run:
        if overwrite and writes:
            run.clear()
        ranks.first(lambda: None)
        yield run
