"""Learning rate schedules: their arguments, and the rate of each step.

The rate is a function of the step and of the scores of earlier epochs. A checkpoint contains both,
so schedules have no state to save. To add a schedule, add a class here.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cnn_cli.metric_names import TOP1, find_metric
from cnn_cli.schema.fields import (
    Choice,
    Count,
    Monitor,
    Must,
    NotBelow0,
    OneOf,
    Share,
    ShareBelow1,
    Whole,
    choices,
)


@dataclass(frozen=True, slots=True)
class Now:
    """The progress of a training after warm-up.

    Attributes:
        epoch: counted from 0, from the start of training.
        done: fraction of the steps after warm-up that are done, from 0 to 1.
        rows: finished epochs, with metrics by column name, such as `val_loss`.
    """

    epoch: int
    done: float
    rows: Sequence[Mapping[str, Any]]


class ScheduleConfig(Choice):
    """Every schedule may start with a linear warm-up, in epochs (parts of one allowed).

    Attributes:
        type: the schedule's name.
        warmup_epochs: epochs in which the rate rises to its value.
    """

    warmup_epochs: NotBelow0 = 0.0

    @property
    def warmup_from(self) -> float:
        """Fraction of the rate at the start of the warm-up."""
        return 0.0

    def rate(self, lr: float, now: Now) -> float:
        """Return the rate of a step after the warm-up; `lr` is the optimizer's."""
        raise NotImplementedError


class ConstantConfig(ScheduleConfig):
    """A constant rate."""

    type: Literal["constant"] = "constant"

    def rate(self, lr: float, now: Now) -> float:
        return lr


class StepConfig(ScheduleConfig):
    """Multiply the rate by gamma every step_size epochs.

    Attributes:
        step_size: epochs between changes.
        gamma: factor of the rate at each change.
    """

    type: Literal["step"] = "step"
    step_size: Count
    gamma: Share = 0.1

    def rate(self, lr: float, now: Now) -> float:
        return lr * self.gamma ** (now.epoch // self.step_size)


class MultiStepConfig(ScheduleConfig):
    """Multiply the rate by gamma after each milestone.

    Attributes:
        milestones: epochs after which the rate changes.
        gamma: factor of the rate at each change.
    """

    type: Literal["multistep"] = "multistep"
    milestones: Annotated[tuple[Count, ...], Must("a list of whole numbers above 0")]
    gamma: Share = 0.1

    def rate(self, lr: float, now: Now) -> float:
        return lr * self.gamma ** bisect_right(sorted(self.milestones), now.epoch)


class CosineConfig(ScheduleConfig):
    """Fall to min_lr along half a cosine (Loshchilov and Hutter 2017).

    Attributes:
        min_lr: the rate at the end.
    """

    type: Literal["cosine"] = "cosine"
    warmup_epochs: NotBelow0 = 1.0
    min_lr: NotBelow0 = 0.0

    def rate(self, lr: float, now: Now) -> float:
        """Equation 5 of the paper, without restarts; `min_lr` would be reached after the last
        step.
        """
        return self.min_lr + (lr - self.min_lr) * (1 + math.cos(math.pi * now.done)) / 2


class LinearScheduleConfig(ScheduleConfig):
    """Fall linearly to a fraction of the rate; with a warm-up, a triangle (Smith 2017).

    Attributes:
        start_factor: fraction of the rate at the start of the warm-up.
        end_factor: fraction of the rate at the end of training.
    """

    type: Literal["linear"] = "linear"
    warmup_epochs: NotBelow0 = 1.0
    start_factor: Share = 0.0
    end_factor: Share = 0.0

    @property
    def warmup_from(self) -> float:
        return self.start_factor

    def rate(self, lr: float, now: Now) -> float:
        """As LinearLR; ``lr * end_factor`` would be reached after the last step."""
        return lr * (1 + (self.end_factor - 1) * now.done)


class PlateauConfig(ScheduleConfig):
    """Reduce the rate when validation stops improving (like ReduceLROnPlateau).

    Attributes:
        monitor: the validation metric that should improve. By default `train.monitor` if it
            is set, else `loss`.
        factor: factor of the rate.
        patience: epochs without improvement before the rate is reduced.
        threshold: the smallest change that counts as an improvement.
        threshold_mode: `rel`: relative to the best value; `abs`: absolute.
        cooldown: epochs after a reduction that do not count as epochs without improvement.
        min_lr: the smallest rate.
        eps: a reduction by less than this is skipped.
    """

    type: Literal["plateau"] = "plateau"
    monitor: Monitor | None = None
    factor: ShareBelow1 = 0.1
    patience: Whole = 10
    threshold: NotBelow0 = 1e-4
    threshold_mode: Annotated[Literal["rel", "abs"], Must("rel or abs")] = "rel"
    cooldown: Whole = 0
    min_lr: NotBelow0 = 0.0
    eps: NotBelow0 = 1e-8

    def rate(self, lr: float, now: Now) -> float:
        """As torch.optim.lr_scheduler.ReduceLROnPlateau; epochs without a score are skipped."""
        metric = find_metric(self.monitor or "loss") or TOP1
        sign = -1 if metric.kind.rises else 1
        best, bad, cooldown = math.inf, 0, 0
        for row in now.rows:
            score = row.get(metric.column)
            if score is None or not math.isfinite(score):
                continue
            score *= sign
            margin = self.threshold
            if self.threshold_mode == "rel" and math.isfinite(best):
                margin *= abs(best)
            if score < best - margin:
                best, bad = score, 0
            else:
                bad += 1
            if cooldown > 0:
                cooldown, bad = cooldown - 1, 0
            if bad > self.patience:
                lower = max(lr * self.factor, self.min_lr)
                if lr - lower > self.eps:
                    lr = lower
                cooldown, bad = self.cooldown, 0
        return lr


SCHEDULERS = choices(ScheduleConfig)

AnyScheduler = Annotated[ScheduleConfig, OneOf("cosine")]


def learning_rate(
    schedule: ScheduleConfig,
    lr: float,
    step: int,
    steps_per_epoch: int,
    total_epochs: int,
    rows: Sequence[Mapping[str, Any]] = (),
) -> float:
    """Return the learning rate of one step.

    In the first `warmup_epochs` it rises linearly with each step, up to `lr`. After that it is the
    schedule's `rate`. Cosine and linear change at each step; step and multistep at whole epochs, as
    torch.optim.lr_scheduler.StepLR and MultiStepLR; plateau depends on the scores of earlier
    epochs.

    Args:
        schedule: the schedule.
        lr: learning rate of the optimizer.
        step: number of the step from 0, over the whole training.
        steps_per_epoch: at least 1.
        total_epochs: length of the training.
        rows: finished epochs, with metrics by column name, such as `val_loss`.
    """
    warmup_steps = round(schedule.warmup_epochs * steps_per_epoch)
    if step < warmup_steps:
        start = schedule.warmup_from
        return lr * (start + (1 - start) * (step + 1) / warmup_steps)
    length = total_epochs * steps_per_epoch - warmup_steps
    done = min(1.0, (step - warmup_steps) / length) if length > 0 else 1.0
    return schedule.rate(lr, Now(step // steps_per_epoch, done, rows))
