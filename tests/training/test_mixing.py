"""Which images mixup and CutMix combine, and in which ratios."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnn_cli.config import Config
from cnn_cli.nn.mix import Mix
from cnn_cli.nn.types import Array
from cnn_cli.training.mixing import Mixer, cut_boxes, dominant_labels, make_mixer

SIZE = (20, 32)
N = 4000


def mixer(seed: int = 0, **section: Any) -> Mixer:
    found = make_mixer(config(section, seed))
    assert found is not None
    return found


def config(section: dict[str, Any], seed: int = 0, shards: int = 1) -> Config:
    return Config.model_validate(
        {
            "data": {"image_size": SIZE, "shards": shards},
            "augment": section,
            "model": {"layers": [{"linear": "classes"}]},
            "train": {"seed": seed},
        }
    )


def parts(mix: Mix) -> list[Array]:
    return [mix.ratios, mix.strengths, mix.boxes]


def is_pasted(mix: Mix) -> Array:
    pasted: Array = np.any(mix.boxes, axis=1)
    return pasted


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_of_a_beta_distribution(alpha: float) -> None:
    """Its mean 1/2 and its variance 1 / (4 (2 alpha + 1)), within five standard errors."""
    ratios = mixer(mixup=alpha).mix(3, 0, N).ratios
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(ratios.mean() - 0.5) < 5 * (variance / N) ** 0.5
    assert ratios.var() == pytest.approx(variance, rel=0.1)


def test_mixup() -> None:
    mix = mixer(mixup=1).mix(0, 0, 6)
    assert mix.partners.tolist() == [5, 0, 1, 2, 3, 4]
    np.testing.assert_array_equal(mix.ratios, mix.strengths)
    assert not mix.boxes.any()


def test_cutmix() -> None:
    """Labels have the same fractions as pixels."""
    mix = mixer(cutmix=1).mix(0, 0, N)
    assert (mix.strengths == 1).all()
    top, left, bottom, right = mix.boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (bottom <= 20).all()
    assert (right <= 32).all()
    np.testing.assert_allclose(1 - (bottom - top) * (right - left) / 640, mix.ratios)


def official_box(share: float, y: int, x: int) -> tuple[int, int, int, int]:
    """`rand_bbox` of the authors' code: top, left, bottom, right."""
    cut = np.sqrt(1.0 - share)
    half_height, half_width = int(20 * cut) // 2, int(32 * cut) // 2
    return (
        max(0, y - half_height),
        max(0, x - half_width),
        min(20, y + half_height),
        min(32, x + half_width),
    )


def test_boxes_are_those_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    shares, centers = rng.random(200), rng.random((200, 2))
    shares[:2] = 0, 1
    boxes, ratios = cut_boxes(shares, centers, SIZE)
    for share, (y, x), box in zip(shares, centers, boxes.tolist(), strict=True):
        assert tuple(box) == official_box(share, int(20 * y), int(32 * x))
    assert ratios[1] == 1
    assert ratios.min() >= 0


def test_one_of_the_two_by_chance() -> None:
    """As in timm: equal probabilities, then the technique's own probability."""
    mix = mixer(mixup={"alpha": 1, "p": 0.5}, cutmix={"alpha": 1}).mix(0, 0, N)
    pasted, blended = is_pasted(mix), mix.strengths < 1
    assert not (pasted & blended).any()
    assert abs(blended.mean() - 0.25) < 0.04
    assert abs(pasted.mean() - 0.5) < 0.04
    np.testing.assert_array_equal(mix.ratios[~pasted & ~blended], 1)


def test_probability() -> None:
    mix = mixer(cutmix={"p": 0.3}).mix(0, 0, N)
    assert abs((mix.ratios < 1).mean() - 0.3) < 0.04
    assert (mixer(mixup={"p": 0}).mix(0, 0, N).ratios == 1).all()


@pytest.mark.parametrize("section", [{"mixup": 0.3}, {"cutmix": 1}, {"mixup": 0.3, "cutmix": 2}])
def test_shares_depend_on_seed_epoch_and_position(section: dict[str, Any]) -> None:
    ours = mixer(**section)
    whole = parts(ours.mix(2, 0, 3000))
    for start, n in ((0, 1), (1020, 10), (2047, 900), (1024, 64)):
        for one, other in zip(whole, parts(ours.mix(2, start, n)), strict=True):
            np.testing.assert_array_equal(one[start : start + n], other)
    for other_mix in (ours.mix(3, 0, 3000), mixer(1, **section).mix(2, 0, 3000)):
        assert (whole[0] != other_mix.ratios).mean() > 0.9


def test_one_image_is_mixed_with_itself() -> None:
    assert mixer(mixup=1).mix(0, 7, 1).partners.tolist() == [0]


def test_images_of_a_shard_are_mixed_with_each_other() -> None:
    ours = make_mixer(config({"mixup": 1}, shards=3))
    assert ours is not None
    assert ours.mix(0, 7, 8).partners.tolist() == [1, 0, 4, 2, 3, 7, 5, 6]
    assert ours.mix(0, 7, 2).partners.tolist() == [0, 1]


def test_off() -> None:
    assert make_mixer(config({})) is None


def test_the_label_that_counts() -> None:
    mix = Mix(np.array([2, 0, 1]), np.array([0.6, 0.4, 0.5]), np.ones(3), np.zeros((3, 4)))
    labels = np.array([5, 6, 7])
    assert dominant_labels(labels, mix).tolist() == [5, 5, 7]
    assert dominant_labels(labels, None) is labels
