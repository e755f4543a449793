"""Learning rates, against PyTorch's schedulers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from recipe_cases import PLATEAUS

from cnn_cli.nn.types import Array
from cnn_cli.optim.schedule import (
    ConstantConfig,
    CosineConfig,
    LinearScheduleConfig,
    MultiStepConfig,
    PlateauConfig,
    ScheduleConfig,
    StepConfig,
    learning_rate,
)

GOLDEN = Path(__file__).parent.parent / "golden" / "recipes.npz"


def golden(name: str) -> Array:
    with np.load(GOLDEN) as file:
        array: Array = file[name]
    return array


def rates(
    schedule: ScheduleConfig, steps: int, *, lr: float = 0.4, per_epoch: int = 1, epochs: int = 8
) -> list[float]:
    return [learning_rate(schedule, lr, step, per_epoch, epochs) for step in range(steps)]


def test_constant() -> None:
    assert rates(ConstantConfig(), 3) == [0.4, 0.4, 0.4]


def test_step_is_torch_step_lr() -> None:
    schedule = StepConfig(step_size=2, gamma=0.5)
    assert rates(schedule, 7) == [0.4, 0.4, 0.2, 0.2, 0.1, 0.1, 0.05]


def test_step_falls_at_whole_epochs() -> None:
    schedule = StepConfig(step_size=2, gamma=0.5)
    assert rates(schedule, 13, per_epoch=3) == [0.4] * 6 + [0.2] * 6 + [0.1]


@pytest.mark.parametrize(
    ("milestones", "expected"),
    [
        ((2, 5), [0.4, 0.4, 0.04, 0.04, 0.04, 0.004, 0.004]),
        ((5, 2), [0.4, 0.4, 0.04, 0.04, 0.04, 0.004, 0.004]),
        ((2, 2, 3), [0.4, 0.4, 0.004, 0.0004, 0.0004]),
        ((), [0.4, 0.4]),
    ],
)
def test_multistep_is_torch_multi_step_lr(
    milestones: tuple[int, ...], expected: list[float]
) -> None:
    schedule = MultiStepConfig(milestones=milestones, gamma=0.1)
    assert rates(schedule, len(expected)) == pytest.approx(expected, rel=1e-14)


def test_cosine_is_torch_cosine_annealing_lr() -> None:
    schedule = CosineConfig(warmup_epochs=0.0, min_lr=0.04)
    expected = [
        0.4,
        0.3862983158520316,
        0.3472792206135785,
        0.2888830178257162,
        0.22,
        0.15111698217428385,
        0.09272077938642145,
        0.05370168414796839,
        0.04,
    ]
    assert rates(schedule, 9) == pytest.approx(expected, rel=1e-12)


def test_warmup_then_cosine() -> None:
    # SequentialLR(LinearLR(1/3, 1, 2), CosineAnnealingLR(6)) of PyTorch.
    expected = [
        0.13333333333333333,
        0.26666666666666666,
        0.4,
        0.4,
        0.3732050807568878,
        0.3,
        0.2,
        0.1,
        0.02679491924311226,
    ]
    schedule = CosineConfig(warmup_epochs=1.0)
    assert rates(schedule, 9, per_epoch=3, epochs=3) == pytest.approx(expected, rel=1e-12)


def test_cosine_formula_by_step() -> None:
    schedule = CosineConfig(warmup_epochs=2.0, min_lr=1e-3)
    per_epoch, epochs = 7, 10
    for step in range(14, 70):
        t = (step - 14) / 56
        expected = 1e-3 + (0.5 - 1e-3) * (1 + math.cos(math.pi * t)) / 2
        assert learning_rate(schedule, 0.5, step, per_epoch, epochs) == pytest.approx(expected)


@pytest.mark.parametrize(
    "schedule",
    [
        ConstantConfig(warmup_epochs=2.0),
        StepConfig(warmup_epochs=2.0, step_size=1),
        MultiStepConfig(warmup_epochs=2.0, milestones=(1,)),
        CosineConfig(warmup_epochs=2.0),
        LinearScheduleConfig(warmup_epochs=2.0),
        PlateauConfig(warmup_epochs=2.0),
    ],
    ids=lambda schedule: schedule.type,
)
def test_every_warmup_rises_evenly_to_the_full_rate(schedule: ScheduleConfig) -> None:
    expected = [0.4 * (i + 1) / 10 for i in range(10)]
    assert rates(schedule, 10, per_epoch=5) == pytest.approx(expected, rel=1e-15)


def test_epochs_are_counted_from_the_start_of_the_warmup() -> None:
    schedule = StepConfig(warmup_epochs=1.0, step_size=2, gamma=0.5)
    assert rates(schedule, 10, per_epoch=2) == [0.2, 0.4, 0.4, 0.4, 0.2, 0.2, 0.2, 0.2, 0.1, 0.1]


def test_a_part_of_an_epoch() -> None:
    schedule = ConstantConfig(warmup_epochs=0.5)
    assert rates(schedule, 6, per_epoch=8) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


def test_training_that_ends_within_the_warmup() -> None:
    schedule = CosineConfig(warmup_epochs=5.0)
    assert rates(schedule, 3, epochs=3) == pytest.approx([0.08, 0.16, 0.24])
    # If training is as long as its warm-up, no cosine is left; a later step has its final value.
    assert learning_rate(schedule, 0.4, 5, 1, 5) == 0.0


def test_more_epochs_change_the_rest_only_by_the_new_total() -> None:
    schedule = CosineConfig(warmup_epochs=0.0)
    assert learning_rate(schedule, 1.0, 50, 10, 10) == pytest.approx(0.5)
    assert learning_rate(schedule, 1.0, 50, 10, 20) == pytest.approx((1 + math.sqrt(0.5)) / 2)


def test_linear_falls_as_torch_linear_lr() -> None:
    schedule = LinearScheduleConfig(warmup_epochs=0.0, end_factor=0.07)
    expected = golden("linear/down")
    np.testing.assert_allclose(rates(schedule, 10, epochs=9), expected, rtol=1e-14)


def test_linear_rises_as_torch_linear_lr() -> None:
    """PyTorch's first step has the starting rate; here the last warm-up step has the full rate."""
    schedule = LinearScheduleConfig(warmup_epochs=4.0, start_factor=0.2)
    expected = golden("linear/up")[1:]
    np.testing.assert_allclose(rates(schedule, 4), expected, rtol=1e-14)


def test_linear_with_its_defaults_is_a_triangle_to_zero() -> None:
    found = rates(LinearScheduleConfig(), 10, per_epoch=2, epochs=5)
    expected = [0.2, 0.4, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05]
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", PLATEAUS)
def test_plateau_is_torch_reduce_lr_on_plateau(name: str) -> None:
    scores = golden("plateau/scores")
    arguments = {key: value for key, value in PLATEAUS[name].items() if key != "mode"}
    falls = PLATEAUS[name]["mode"] == "min"
    schedule = PlateauConfig(monitor="val_loss" if falls else "val_top1", **arguments)
    rows = [{"val_loss": score, "val_top1": 1 - score} for score in scores.tolist()]
    found = [learning_rate(schedule, 0.4, i, 1, 99, rows[:i]) for i in range(len(rows))]
    np.testing.assert_allclose(found, golden(f"plateau/{name}"), rtol=1e-14)
    assert len(set(found)) > 1


def test_a_score_that_stays_the_same_is_no_better() -> None:
    """Without a threshold either, as in PyTorch."""
    schedule = PlateauConfig(patience=0, threshold=0)
    rows = [{"val_loss": 1.0}, {"val_loss": 1.0}]
    assert learning_rate(schedule, 0.4, 1, 1, 9, rows[:1]) == 0.4
    assert learning_rate(schedule, 0.4, 2, 1, 9, rows) == pytest.approx(0.4 * schedule.factor)


def test_plateau_passes_over_epochs_without_a_score() -> None:
    schedule = PlateauConfig(patience=0)
    rows = [{"val_loss": score} for score in (1.0, None, math.nan, 0.5)]
    assert learning_rate(schedule, 0.4, 4, 1, 9, rows) == 0.4
