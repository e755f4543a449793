"""The range test's learning rates and losses, and its suggestion."""

from __future__ import annotations

import shutil
from dataclasses import replace
from math import exp, inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hardship import contents
from learnable import config_document, make_pictures
from tagged import make_tagged, tagged_document

from cnn_cli.config import validate_config
from cnn_cli.errors import DataError, DivergedError
from cnn_cli.nn.types import Array, Share
from cnn_cli.optim.optimizer import Optimizer
from cnn_cli.training.lr_range import BETA, LrRange, RangePoint, range_test
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.step import NotFiniteError, Step

IMAGES = 60  # and batches of 16


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


def find(pictures: Path, steps: int = 20, seconds: float = 1e6, **train: Any) -> LrRange:
    config = validate_config(config_document(pictures, **train), "c.yaml")
    options = TrainOptions(threads=1, backend="numpy")
    return range_test(config, "c.yaml", options, steps, seconds, lambda _: None)


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rates passed to optimizers."""
    given: list[float] = []
    original = Optimizer.step

    def step(self: Optimizer, gradient: Array, lr: float, share: Share) -> None:
        given.append(lr)
        original(self, gradient, lr, share)

    monkeypatch.setattr(Optimizer, "step", step)
    return given


@pytest.mark.parametrize(
    ("train", "steps"),
    [
        ({}, 20),
        ({"batch_size": 60}, 30),
        ({"batch_size": 64}, 20),
        ({"accumulate": 3}, 21),
        ({"optimizer": {"type": "adamw", "lr": 0.001}}, 20),
        ({"ema": 0.9, "clip_grad_norm": 0.1}, 20),
        ({"lookahead": {"every": 2}}, 20),
    ],
)
def test_rates_rise_by_the_same_factor_through_all_epochs(
    pictures: Path, rates: list[float], train: dict[str, Any], steps: int
) -> None:
    found = find(pictures, steps, **train)
    expected = np.geomspace(1e-6, 10, steps)[: len(found.points)]
    assert [point.lr for point in found.points] == pytest.approx(expected.tolist(), rel=1e-12)
    assert rates[: len(found.points)] == pytest.approx(expected.tolist(), rel=1e-9)
    assert len(rates) <= len(found.points) + 1


@pytest.mark.parametrize("train", [{}, {"lookahead": {"every": 1}}, {"accumulate": 2}])
@pytest.mark.parametrize("unreadable", [False, True])
def test_a_skipped_update_takes_no_rate(
    pictures: Path, tmp_path: Path, rates: list[float], train: dict[str, Any], unreadable: bool
) -> None:
    """The second batch of an epoch is one image, of which `batchnorm` cannot learn, or none."""
    root = tmp_path / "pictures"
    shutil.copytree(pictures, root)
    if unreadable:
        image = next((root / "train/dark").iterdir())
        image.write_bytes(b"no picture")
    document = config_document(root, batch_size=IMAGES - 1, precise_bn=False, **train)
    layers = document["model"]["layers"]
    layers[-1:] = [{"linear": 4}, "batchnorm", *layers[-1:]]
    options = TrainOptions(threads=1, backend="numpy")
    config = validate_config(document, "c.yaml")
    found = range_test(config, "c.yaml", options, 20, 1e6, lambda _: None)
    assert found.ended == "last rate"
    expected = np.geomspace(1e-6, 10, 20).tolist()
    assert [point.lr for point in found.points] == pytest.approx(expected, rel=1e-9)
    assert rates == pytest.approx(expected, rel=1e-9)


def test_losses_are_those_before_each_update(pictures: Path) -> None:
    """At the lowest rates nothing is learned yet: each loss is that of the initial weights."""
    whole = find(pictures, 40, batch_size=60)
    first = [point.loss for point in whole.points[:10]]
    assert first == pytest.approx([first[0]] * 10, rel=0.1)
    thirds = find(pictures, 40, batch_size=20, accumulate=3)
    assert thirds.points[0].loss == pytest.approx(first[0], rel=0.1)


@pytest.mark.parametrize(
    "train",
    [
        {"scheduler": {"type": "cosine", "warmup_epochs": 2}},
        {"scheduler": {"type": "step", "step_size": 1}},
        {"scheduler": "plateau"},
        {"epochs": 1},
        {"epochs": 0},
        {"head": {"epochs": 1}},
        {"monitor": "recall:dark", "early_stop": 1},
        {"optimizer": {"type": "sgd", "lr": 0.7}},
    ],
)
def test_what_has_no_part_in_it(pictures: Path, train: dict[str, Any]) -> None:
    assert find(pictures, **train).points == find(pictures).points


def test_it_ends_where_the_loss_is_four_times_the_lowest(pictures: Path) -> None:
    found = find(pictures, 60)
    assert found.ended == "diverged"
    *before, last = (point.smoothed for point in found.points)
    assert last > 4 * min(before)
    assert all(value <= 4 * min(before) for value in before)


def test_nothing_is_written(pictures: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    before = contents(pictures)
    find(pictures)
    assert contents(pictures) == before
    assert list(tmp_path.iterdir()) == []


def test_the_same_again(pictures: Path) -> None:
    assert find(pictures) == find(pictures)


def test_its_time_is_limited(pictures: Path) -> None:
    found = find(pictures, 20, 0)
    assert (found.ended, len(found.points), found.suggestion) == ("time limit", 1, None)


def test_a_loss_that_is_not_finite_is_an_end_unless_it_is_the_first(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, original = 15, Step.run

    def fail(self: Step, *arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise NotFiniteError(inf, None, 1.0)
        original(self, *arguments)

    monkeypatch.setattr(Step, "run", fail)
    found = find(pictures, 100)
    assert (found.ended, len(found.points)) == ("diverged", 15)
    with pytest.raises(DivergedError, match=r"c\.yaml: the loss must be finite at the lowest rate"):
        find(pictures, 100)


@pytest.mark.parametrize("validated", [True, False])
def test_several_labels(tmp_path: Path, validated: bool) -> None:
    document = tagged_document(make_tagged(tmp_path, val=24 if validated else 0))
    if not validated:
        document["data"]["val_split"] = 0
    config = validate_config(document, "c.yaml")
    options = TrainOptions(threads=1, backend="numpy")
    found = range_test(config, "c.yaml", options, 60, 1e6, lambda _: None)
    assert found.lowest.smoothed < found.points[0].smoothed
    assert found.suggestion is not None


def test_pictures_that_cannot_be_read(pictures: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        for name in ("dark", "bright"):
            place = tmp_path / part / name
            place.mkdir(parents=True)
            (place / "0.png").write_bytes(b"no picture")
    with pytest.raises(DataError):
        find(tmp_path)


def of(losses: list[float], **more: Any) -> LrRange:
    """Return a test with these smoothed losses, at rates that rise by 1.5."""
    points = [RangePoint(1e-6 * 1.5**i, loss, loss) for i, loss in enumerate(losses)]
    given: dict[str, Any] = {"ended": "diverged", "configured": {"train.optimizer.lr": 0.1}}
    return LrRange(tuple(points), len(points), **given | more)


# It falls as a logistic curve, steepest at step 30, and rises after step 44.
FALLING = [*(2 - 1 / (1 + exp(-(i - 30) / 2)) for i in range(45)), 1.2, 2.0, 5.0]


def test_the_suggestion_is_where_the_loss_falls_most() -> None:
    found = of(FALLING)
    assert found.lowest == found.points[44]
    assert found.steepest == found.points[30]
    assert found.suggestion == float(f"{1e-6 * 1.5**30:.2g}")
    assert found.settings == {"train.optimizer.lr": found.suggestion}


def test_a_configured_rate_of_0(pictures: Path) -> None:
    found = of(FALLING, configured={"train.optimizer.lr": 0.0})
    assert found.settings == {"train.optimizer.lr": of(FALLING).suggestion}
    none = find(pictures, optimizer={"type": "sgd", "lr": 0})
    assert replace(none, configured={}) == replace(find(pictures), configured={})


def test_none_where_the_loss_falls_nowhere() -> None:
    rising = of([1 + i / 10 for i in range(30)])
    assert (rising.suggestion, rising.settings) == (None, {})
    assert of(FALLING, ended="time limit").suggestion is None
    # A fall in the first steps, which average few losses, does not count.
    assert of([3.0, 2.0, *[2.5] * 20]).suggestion is None
    # Nor does a point below its neighbors, where the loss rises on the whole.
    assert of([1.0] * 10 + [1.1, 1.09] + [1.2 + i / 10 for i in range(20)]).suggestion is None


def test_a_low_loss_among_the_first_steps_hides_no_fall() -> None:
    """With small batches, a single loss may by chance be below all smoothed ones."""
    found = of([0.9, *FALLING[1:]])
    assert found.lowest == found.points[44]
    assert found.suggestion == of(FALLING).suggestion


def test_other_rates_keep_their_ratio(pictures: Path) -> None:
    configured = {"train.optimizer.lr": 0.02, "train.optimizer.other.lr": 0.1}
    found = of(FALLING, configured=configured)
    assert found.suggestion is not None
    assert found.settings["train.optimizer.other.lr"] == pytest.approx(
        5 * found.suggestion, rel=0.05
    )
    muon = find(pictures, optimizer={"type": "muon", "other": {"type": "adamw", "lr": 0.3}})
    assert muon.configured == {"train.optimizer.lr": 0.02, "train.optimizer.other.lr": 0.3}


def test_losses_are_smoothed_as_adam_has_it(pictures: Path) -> None:
    """A bias-corrected exponential moving average, as in Adam."""
    points = find(pictures).points
    for i, point in enumerate(points):
        weights = [BETA**age for age in reversed(range(i + 1))]
        expected = np.average([each.loss for each in points[: i + 1]], weights=weights)
        assert point.smoothed == pytest.approx(float(expected), rel=1e-12)
