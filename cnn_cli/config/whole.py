"""The config as a whole: its sections, and the rules across them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import model_validator

from cnn_cli.config.sections import DataConfig, ModelConfig, TrainConfig
from cnn_cli.data.augment import AugmentConfig
from cnn_cli.data.progressive_resizing import ImageSize
from cnn_cli.errors import listed
from cnn_cli.metric_names import TOP1, default_monitor, find_metric
from cnn_cli.nn.losses import LOSSES
from cnn_cli.nn.losses.bce import BCEConfig
from cnn_cli.optim.schedule import PlateauConfig
from cnn_cli.schema.fields import Frozen, broken


class Config(Frozen):
    """A whole config file.

    Attributes:
        data: the images, and how each becomes an array.
        augment: random changes to the training images.
        model: the network.
        train: how it is trained.
    """

    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig
    train: TrainConfig = TrainConfig()

    def __reduce__(self) -> tuple[Callable[[Any], Config], tuple[Any]]:
        """How it is sent to another process: layers' models are made when their kinds are known,
        and have no names to be found by."""
        return Config.model_validate, (self.model_dump(mode="json"),)

    def with_keys(self, section: Literal["data", "train"], **keys: Any) -> Config:
        """Return a copy with other values for some keys of a section; they are not checked."""
        changed = getattr(self, section).model_copy(update=keys)
        return self.model_copy(update={section: changed})

    def image_size(self, epoch: int) -> ImageSize:
        """Return the height and width of the training images in an epoch, counted from 0."""
        train, full = self.train, self.data.image_size
        if train.progressive_resizing is None or epoch < train.head_epochs:
            return full
        first = train.head_epochs
        return train.progressive_resizing.image_size(full, epoch - first, train.epochs - first)

    @model_validator(mode="before")
    @classmethod
    def _empty_section(cls, value: Any) -> Any:
        """Give an empty section its defaults."""
        if isinstance(value, dict):
            return {key: {} if part is None else part for key, part in value.items()}
        return value

    @model_validator(mode="after")
    def _augmentation_fits(self) -> Config:
        self.augment.check_fits(self.data.image_size, self.data.channels, self.data.depth)
        return self

    @model_validator(mode="after")
    def _training_fits_labels(self) -> Config:
        """Adapt to the labels of images, and check that losses and metrics support them."""
        train, labels = self.train, self.data.labels
        if labels == "multiple":
            others = {"loss": BCEConfig(), "monitor": default_monitor(labels).name}
            update = {key: others[key] for key in others.keys() - train.model_fields_set}
            train = train.model_copy(update=update)
            object.__setattr__(self, "train", train)
        if labels not in train.loss.labels:
            some = [name for name, loss in LOSSES.items() if labels in loss.labels]
            rule = f"train.loss must be {listed(some, last=' or ')} where data.labels is {labels}"
            raise broken(f"{rule}. Got {train.loss.type!r}")
        train.loss.check_labels(labels)
        followed = {"train.monitor": train.monitored}
        if isinstance(train.scheduler, PlateauConfig) and train.scheduler.monitor is not None:
            followed["train.scheduler.monitor"] = find_metric(train.scheduler.monitor) or TOP1
        for key, metric in followed.items():
            wrong = metric.not_of(labels)
            if wrong is not None:
                raise broken(f"{key}: {wrong}")
        return self

    @model_validator(mode="after")
    def _a_place_for_each_shard(self) -> Config:
        if self.data.shards > self.train.batch_size:
            most = self.train.batch_size
            raise broken(f"data.shards must be at most train.batch_size, {most}")
        return self
