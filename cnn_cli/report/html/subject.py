"""What a run, or a checkpoint alone, says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnn_cli.config import Config
from cnn_cli.data.dataset import Split
from cnn_cli.data.decode import ImageError
from cnn_cli.inference.classifier import Classifier, open_classifier
from cnn_cli.inference.evaluate import Evaluation
from cnn_cli.inference.several_labels import LabelsEvaluation
from cnn_cli.runs.checkpoint import LAST, load_checkpoint
from cnn_cli.runs.state import TrainingState
from cnn_cli.runs.stored_network import stored_config


@dataclass(frozen=True, slots=True)
class Record:
    """A run as far as it has come.

    Attributes:
        path: as it was named.
        classifier: of its best checkpoint.
        meta: of its last one, whose epochs may go on beyond the best.
        config: of that.
        state: None where the weights come from elsewhere, as those of `cnn import`.
    """

    path: Path
    classifier: Classifier
    meta: dict[str, Any]
    config: Config
    state: TrainingState | None

    @classmethod
    def open(cls, path: Path) -> Record:
        """Read a run folder's checkpoints, or an `.npz`; or all networks of a run of folds.

        Raises:
            DataError: one is absent or damaged.
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
class Measured:
    """What the network says of labelled images.

    Attributes:
        images: of the part.
        evaluation: of those that could be read, one at least, at the classifier's temperature.
        bad: why the others could not.
        part: its name, as `val`.
        place: the folder it is of.
    """

    images: Split
    evaluation: Evaluation
    bad: dict[int, ImageError]
    part: str
    place: str


@dataclass(frozen=True, slots=True)
class MeasuredLabels:
    """The same of images that may have several labels.

    Attributes:
        images, bad, part, place: of `Measured`.
        evaluation: of those that could be read, one at least.
    """

    images: Split
    evaluation: LabelsEvaluation
    bad: dict[int, ImageError]
    part: str
    place: str


@dataclass(frozen=True, slots=True)
class Subject:
    """A run of a report.

    Attributes:
        name: short, its own among the runs of the report.
        measured: or why there is nothing.
    """

    name: str
    record: Record
    measured: Measured | MeasuredLabels | str


def short_names(paths: list[Path]) -> list[str]:
    """The folders' or files' own names where those differ, else the paths; never two the same."""
    names = [path.name or str(path) for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: number + 1].count(name)})"
        for number, name in enumerate(names)
    ]
