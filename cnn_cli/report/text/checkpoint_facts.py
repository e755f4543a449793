"""What a checkpoint holds besides its network: classes, training, and how it predicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cnn_cli.errors import listed
from cnn_cli.inference.classifier import Classifier
from cnn_cli.nn.layers.base import shape_text
from cnn_cli.report.text.table import format_pairs
from cnn_cli.runs.state import TrainingState


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """What a checkpoint holds.

    Attributes:
        file: its path.
        classes: their names, in the order of the scores.
        preprocess: how images are decoded: height, width, channels, resize_mode, depth.
        epochs: number of epochs that it was trained for; None if it was imported or averaged.
        monitor, value: the metric of `train.monitor` and its validation value after the last of
            them; None if there were no validation images.
        images: number of images for training and validation; empty if they are not known.
        temperature: divisor of the logits; 1 without calibration.
        thresholds: the least probability of each label; empty if each image has one label.
        tta: the stored test-time augmentation; None for one view.
        refused: number of refused validation images, and of all of them; None if no image is
            refused.
    """

    file: str
    classes: tuple[str, ...]
    preprocess: Mapping[str, Any]
    epochs: int | None
    monitor: str | None
    value: float | None
    images: Mapping[str, int]
    temperature: float
    thresholds: tuple[float, ...]
    tta: str | None
    refused: tuple[int, int] | None

    @classmethod
    def of(cls, classifier: Classifier) -> CheckpointFacts:
        """Collect them.

        Raises:
            DataError: the checkpoint's training state is damaged.
        """
        meta, rejection = classifier.meta, classifier.rejection
        epochs = monitor = value = None
        if "state" in meta:
            state = TrainingState.from_meta(meta, str(classifier.path))
            epochs, monitored = state.epoch, classifier.config.train.monitored
            value = None if state.last is None else state.last.value(monitored)
            monitor = None if value is None else monitored.text
        counts = meta.get("data", {})
        images = {part: counts[part] for part in ("train", "val") if _is_count(counts.get(part))}
        return cls(
            file=str(classifier.path),
            classes=classifier.classes,
            preprocess=meta["preprocess"],
            epochs=epochs,
            monitor=monitor,
            value=value,
            images=images,
            temperature=classifier.temperature,
            thresholds=classifier.thresholds,
            tta=classifier.tta,
            refused=None if rejection is None else (rejection.refused, rejection.images),
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def as_text(self) -> str:
        """Return one fact per line; those that change no prediction are left out."""
        size = shape_text(tuple(self.preprocess[key] for key in ("height", "width", "channels")))
        pairs = [
            ("checkpoint", self.file),
            ("classes", f"{len(self.classes)}: {listed(self.classes)}"),
            ("images", f"{size}, {self.preprocess['resize_mode']}"),
        ]
        if self.epochs is not None:
            pairs.append(("trained", self._training()))
        if self.temperature != 1:
            pairs.append(("temperature", f"{self.temperature:.4f}, from cnn eval --calibrate"))
        if self.thresholds:
            each = zip(self.classes, self.thresholds, strict=True)
            pairs.append(("thresholds", listed([f"{name} {least:.4g}" for name, least in each])))
        if self.tta is not None:
            pairs.append(("tta", self.tta))
        if self.refused is not None:
            pairs.append(("refuses", "{:,} of {:,} validation images".format(*self.refused)))
        return format_pairs(pairs)

    def _training(self) -> str:
        told = f"to epoch {self.epochs}"
        if "train" in self.images:
            told += f", {self.images['train']:,} images"
        if self.value is None:
            return told
        of = f" ({self.images['val']:,} images)" if "val" in self.images else ""
        return f"{told}; validation {self.monitor} {self.value:.4f}{of}"


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
