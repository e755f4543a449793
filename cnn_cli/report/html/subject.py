"""The data of a run or of a single checkpoint."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from cnn_cli.config import Config
from cnn_cli.data.dataset import Split
from cnn_cli.data.image_error import ImageError
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.evaluate import Evaluation
from cnn_cli.inference.opening import open_classifier
from cnn_cli.inference.several_labels import LabelsEvaluation
from cnn_cli.runs.checkpoint import LAST, load_checkpoint
from cnn_cli.runs.state import TrainingState
from cnn_cli.runs.stored_network import stored_config

E = TypeVar("E", Evaluation, LabelsEvaluation)


@dataclass(frozen=True, slots=True)
class Record:
    """A run and its state.

    Attributes:
        path: as given by the user.
        classifier: the classifier of its best checkpoint.
        meta: metadata of its last checkpoint, which may be later than the best.
        config: the config in it.
        state: the state of its training; None for weights from elsewhere, such as `cnn import`.
    """

    path: Path
    classifier: Classifier
    meta: dict[str, Any]
    config: Config
    state: TrainingState | None

    @classmethod
    def open(cls, path: Path) -> Record:
        """Read a run folder's checkpoints, an `.npz` file, or all networks of a run of folds.

        Raises:
            DataError: one is missing or damaged.
        """
        classifier = open_classifier([path])
        if len(classifier.networks) > 1:
            return cls(path, classifier, classifier.meta, classifier.config, None)
        file, meta, config = classifier.path, classifier.meta, classifier.config
        if path.is_dir() and file.name != LAST and (path / LAST).exists():
            file = path / LAST
            meta = load_checkpoint(file, ()).meta
            config = stored_config(meta, str(file))
        state = TrainingState.from_meta(meta, str(file)) if "state" in meta else None
        return cls(path, classifier, meta, config, state)


@dataclass(frozen=True, slots=True)
class _Measurement(Generic[E]):
    """An evaluation on labeled images.

    Attributes:
        images: the images of the part.
        evaluation: of the readable images, at least one, at the classifier's temperature.
        bad: the errors of unreadable images.
        part: name of the part, such as `val`.
        place: the folder, archive or list of the images.
    """

    images: Split
    evaluation: E
    bad: dict[int, ImageError]
    part: str
    place: str

    def shown_path(self, row: int) -> str:
        """Return the path of an evaluated image, relative to the folder, archive or list."""
        path = os.path.abspath(self.images.paths[int(self.evaluation.indices[row])])
        place = os.path.abspath(self.place)
        return os.path.relpath(
            path, place if path.startswith(place + os.sep) else os.path.dirname(place)
        )

    @property
    def seen(self) -> tuple[str, ...]:
        """The paths of the images that were evaluated."""
        return tuple(self.images.paths[int(i)] for i in self.evaluation.indices)


class Measured(_Measurement[Evaluation]):
    """An evaluation on images with one label."""


class MeasuredLabels(_Measurement[LabelsEvaluation]):
    """An evaluation on images with several labels."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A run in a report.

    Attributes:
        name: short name, unique in the report.
        measured: the evaluation, or why there is none.
    """

    name: str
    record: Record
    measured: Measured | MeasuredLabels | str


def short_names(paths: list[Path]) -> list[str]:
    """Return the names of folders or files if they differ, else the paths; never two the same."""
    names = [path.name or str(path) for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: number + 1].count(name)})"
        for number, name in enumerate(names)
    ]
