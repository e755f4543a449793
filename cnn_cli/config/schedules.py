"""The config's `train.scheduler`: one model a kind, with PyTorch's names and defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cnn_cli.schema.fields import (
    Count,
    Frozen,
    Must,
    NotBelow0,
    Share,
    ShareBelow1,
    Whole,
    WithType,
)


class _ScheduleConfig(Frozen):
    """Every schedule may start with a linear warm-up, in epochs (parts of one allowed).

    Attributes:
        type: which schedule it is.
        warmup_epochs: in which the rate rises to its value.
    """

    warmup_epochs: NotBelow0 = 0.0


class ConstantConfig(_ScheduleConfig):
    """The same rate throughout."""

    type: Literal["constant"] = "constant"


class StepConfig(_ScheduleConfig):
    """The rate times gamma every step_size epochs.

    Attributes:
        step_size: epochs from one change to the next.
        gamma: factor of the rate.
    """

    type: Literal["step"] = "step"
    step_size: Count
    gamma: Share = 0.1


class MultiStepConfig(_ScheduleConfig):
    """The rate times gamma at each epoch of milestones.

    Attributes:
        milestones: epochs after which it changes.
        gamma: factor of the rate.
    """

    type: Literal["multistep"] = "multistep"
    milestones: Annotated[tuple[Count, ...], Must("a list of whole numbers above 0")]
    gamma: Share = 0.1


class CosineConfig(_ScheduleConfig):
    """Down to min_lr along half a cosine (Loshchilov and Hutter 2017).

    Attributes:
        min_lr: what the rate ends at.
    """

    type: Literal["cosine"] = "cosine"
    warmup_epochs: NotBelow0 = 1.0
    min_lr: NotBelow0 = 0.0


class LinearScheduleConfig(_ScheduleConfig):
    """Down to a part of the rate in a straight line; with a warm-up, a triangle (Smith 2017).

    Attributes:
        start_factor: share of the rate that the warm-up rises from.
        end_factor: share of the rate that the training ends with.
    """

    type: Literal["linear"] = "linear"
    warmup_epochs: NotBelow0 = 1.0
    start_factor: Share = 0.0
    end_factor: Share = 0.0


class PlateauConfig(_ScheduleConfig):
    """The rate times factor where validation stops to improve (as ReduceLROnPlateau).

    Attributes:
        monitor: `val_loss`, which is to fall, or `val_top1`, which is to rise.
        factor: of the rate.
        patience: epochs without a better one that change nothing yet.
        threshold: by how much a better one must be better.
        threshold_mode: `rel`: that share of the best one; `abs`: that number.
        cooldown: epochs after a change in which no bad one is counted.
        min_lr: the rate falls no further.
        eps: a change smaller than this is left out.
    """

    type: Literal["plateau"] = "plateau"
    monitor: Annotated[Literal["val_loss", "val_top1"], Must("val_loss or val_top1")] = "val_loss"
    factor: ShareBelow1 = 0.1
    patience: Whole = 10
    threshold: NotBelow0 = 1e-4
    threshold_mode: Annotated[Literal["rel", "abs"], Must("rel or abs")] = "rel"
    cooldown: Whole = 0
    min_lr: NotBelow0 = 0.0
    eps: NotBelow0 = 1e-8


SCHEDULERS: dict[str, type[Frozen]] = {
    "constant": ConstantConfig,
    "step": StepConfig,
    "multistep": MultiStepConfig,
    "cosine": CosineConfig,
    "linear": LinearScheduleConfig,
    "plateau": PlateauConfig,
}

SchedulerConfig = (
    ConstantConfig
    | StepConfig
    | MultiStepConfig
    | CosineConfig
    | LinearScheduleConfig
    | PlateauConfig
)

AnyScheduler = Annotated[SchedulerConfig, Field(discriminator="type"), WithType("cosine")]
