"""The learning rate of each step, a function of the step and of the epochs' scores before it.

A checkpoint has both: there is nothing else to save or restore.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from cnn_cli.config.schedules import (
    ConstantConfig,
    CosineConfig,
    LinearScheduleConfig,
    MultiStepConfig,
    PlateauConfig,
    SchedulerConfig,
    StepConfig,
)


def learning_rate(
    schedule: SchedulerConfig,
    lr: float,
    step: int,
    steps_per_epoch: int,
    total_epochs: int,
    rows: Sequence[Mapping[str, Any]] = (),
) -> float:
    """The rate of one step.

    The first `warmup_epochs` rise linearly, by the same amount each step, and end at `lr`. After
    that, cosine falls each step (Loshchilov and Hutter 2017, equation 5, without restarts) and
    would be at `min_lr` after the last one, and so does linear, which would be at
    ``lr * end_factor`` (as LinearLR). Step and multistep fall at whole epochs, counted from the
    start of training, as torch.optim.lr_scheduler.StepLR and MultiStepLR; plateau where the
    scores of the epochs before say so.

    Args:
        lr: of the optimizer.
        step: number of the step from 0, over the whole training.
        steps_per_epoch: 1 or more.
        total_epochs: how long the training is.
        rows: the epochs that are done, with `val_loss` and `val_top1`.
    """
    warmup_epochs: float = schedule.warmup_epochs
    warmup_steps = round(warmup_epochs * steps_per_epoch)
    if step < warmup_steps:
        start = schedule.start_factor if isinstance(schedule, LinearScheduleConfig) else 0.0
        return lr * (start + (1 - start) * (step + 1) / warmup_steps)
    epoch = step // steps_per_epoch
    match schedule:
        case ConstantConfig():
            factor = 1.0
        case StepConfig():
            factor = schedule.gamma ** (epoch // schedule.step_size)
        case MultiStepConfig():
            factor = schedule.gamma ** bisect_right(sorted(schedule.milestones), epoch)
        case PlateauConfig():
            return _plateau(schedule, lr, rows)
        case CosineConfig() | LinearScheduleConfig():
            length = total_epochs * steps_per_epoch - warmup_steps
            done = min(1.0, (step - warmup_steps) / length) if length > 0 else 1.0
            if isinstance(schedule, LinearScheduleConfig):
                factor = 1 + (schedule.end_factor - 1) * done
            else:
                min_lr: float = schedule.min_lr
                return min_lr + (lr - min_lr) * (1 + math.cos(math.pi * done)) / 2
    return lr * factor


def _plateau(schedule: PlateauConfig, lr: float, rows: Sequence[Mapping[str, Any]]) -> float:
    """The rate after some epochs, as torch.optim.lr_scheduler.ReduceLROnPlateau.

    An epoch that was not validated is passed over.
    """
    sign = 1 if schedule.monitor == "val_loss" else -1
    best, bad, cooldown = math.inf, 0, 0
    for row in rows:
        score = row[schedule.monitor]
        if score is None or not math.isfinite(score):
            continue
        score *= sign
        margin = schedule.threshold
        if schedule.threshold_mode == "rel" and math.isfinite(best):
            margin *= abs(best)
        if score < best - margin:
            best, bad = score, 0
        else:
            bad += 1
        if cooldown > 0:
            cooldown, bad = cooldown - 1, 0
        if bad > schedule.patience:
            lower = max(lr * schedule.factor, schedule.min_lr)
            if lr - lower > schedule.eps:
                lr = lower
            cooldown, bad = schedule.cooldown, 0
    return lr
