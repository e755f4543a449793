"""The learning rate of each step, a function of the step alone: nothing to save or restore."""

from __future__ import annotations

import math
from bisect import bisect_right

from cnn_cli.config.models import (
    ConstantConfig,
    CosineConfig,
    MultiStepConfig,
    SchedulerConfig,
    StepConfig,
)


def learning_rate(
    schedule: SchedulerConfig, lr: float, step: int, steps_per_epoch: int, total_epochs: int
) -> float:
    """The rate of one step.

    The first `warmup_epochs` rise linearly, by the same amount each step, and end at `lr`. After
    that, cosine falls each step (Loshchilov and Hutter 2017, equation 5, without restarts) and
    would be at `min_lr` after the last one; step and multistep fall at whole epochs, counted
    from the start of training, as torch.optim.lr_scheduler.StepLR and MultiStepLR.

    Args:
        lr: of the optimizer.
        step: number of the step from 0, over the whole training.
        steps_per_epoch: 1 or more.
        total_epochs: how long the training is.
    """
    warmup_epochs: float = schedule.warmup_epochs
    warmup_steps = round(warmup_epochs * steps_per_epoch)
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    epoch = step // steps_per_epoch
    match schedule:
        case ConstantConfig():
            factor = 1.0
        case StepConfig():
            factor = schedule.gamma ** (epoch // schedule.step_size)
        case MultiStepConfig():
            factor = schedule.gamma ** bisect_right(sorted(schedule.milestones), epoch)
        case CosineConfig():
            length = total_epochs * steps_per_epoch - warmup_steps
            done = min(1.0, (step - warmup_steps) / length) if length > 0 else 1.0
            min_lr: float = schedule.min_lr
            return min_lr + (lr - min_lr) * (1 + math.cos(math.pi * done)) / 2
    return lr * factor
