"""`train.progressive_resizing`: smaller training images in the first epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hardship import ALL_TECHNIQUES
from learnable import make_pictures
from short_training import Watch
from test_features import arrays

from cnn_cli.config import Config, validate_config
from cnn_cli.data.progressive_resizing import ProgressiveResizingConfig
from cnn_cli.errors import ConfigError, DivergedError
from cnn_cli.training.lr_range import range_test
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.planning import plan_training
from cnn_cli.training.preview import preview
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train

LAYERS: list[Any] = [
    {"conv": {"out_channels": 6, "kernel_size": 3, "padding": "same", "name": "stem"}},
    "batchnorm",
    "relu",
    {"maxpool": 2},
    "global_avgpool",
    {"dropout": 0.1},
    {"linear": "classes"},
]
# 4x4, 4x4, 6x6, 8x8
GROWING = {"initial_scale": 0.5, "delay_fraction": 0.25, "finetune_fraction": 0.25}
GROWING |= {"size_increment": 2}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


def config_of(pictures: Path, *, data: Any = (), augment: Any = (), **keys: Any) -> Config:
    document = {
        "data": {"root": str(pictures), "image_size": 8, "channels": 1} | dict(data),
        "augment": dict(augment),
        "model": {"layers": keys.pop("layers", LAYERS)},
        "train": {"epochs": 4, "batch_size": 16, "progressive_resizing": GROWING} | keys,
    }
    return validate_config(document, "x")


def run(
    config: Config,
    out: Path,
    *,
    watch: Watch | None = None,
    requests: Requests | None = None,
    resume: bool = False,
    threads: int = 2,
) -> Watch:
    watch = watch or Watch()
    options = TrainOptions(out, resume=resume, threads=threads, backend="numpy")
    train(config, "x.yaml", options, requests or Requests(), watch)
    return watch


def assert_same(one: Path, other: Path) -> None:
    found, expected = arrays(one), arrays(other)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize(
    ("keys", "full", "expected"),
    [
        ({}, 224, [112] * 6 + [148, 188, 224, 224]),
        ({}, 32, [16] * 6 + [20, 28, 32, 32]),
        ({"size_increment": 32}, 224, [128] * 6 + [160, 192, 224, 224]),
        ({"initial_scale": 0.75, "finetune_fraction": 0.5}, 128, [96] * 5 + [128] * 5),
        ({"delay_fraction": 0, "finetune_fraction": 0, "size_increment": 1}, 20, range(10, 20)),
        ({"delay_fraction": 0.9, "finetune_fraction": 0.1}, 30, [16] * 9 + [30]),
        ({"delay_fraction": 1, "finetune_fraction": 0}, 64, [32] * 10),
        ({"delay_fraction": 0, "finetune_fraction": 1}, 30, [30] * 10),
        ({"initial_scale": 0.01}, 6, [4] * 8 + [6] * 2),
        ({"initial_scale": 0.5, "size_increment": 64}, 28, [28] * 10),
    ],
)
def test_the_size_of_each_epoch(keys: Any, full: int, expected: Any) -> None:
    schedule = ProgressiveResizingConfig(**keys)
    sizes = [schedule.image_size((full, full), epoch, 10) for epoch in range(10)]
    assert sizes == [(size, size) for size in expected]


def test_height_and_width_shrink_by_the_same_factor() -> None:
    assert ProgressiveResizingConfig().image_size((128, 64), 0, 10) == (64, 32)


def test_the_head_trains_at_the_full_size(pictures: Path) -> None:
    config = config_of(pictures, head={"epochs": 2}, epochs=6)
    sizes = [config.image_size(epoch) for epoch in range(6)]
    assert sizes == [(8, 8), (8, 8), (4, 4), (4, 4), (6, 6), (8, 8)]


def test_shrunk_images_train_as_small_ones_do(pictures: Path, tmp_path: Path) -> None:
    """Shrinking comes last: a plain image is decoded to the same pixels at the smaller size."""
    known = {"mean": 0.5, "std": 0.25, "resize_mode": "squash"}
    always = {"initial_scale": 0.75, "delay_fraction": 1, "finetune_fraction": 0}
    always |= {"size_increment": 2}
    mixed = {"cutmix": 1.0}
    shrunk = config_of(pictures, data=known, augment=mixed, progressive_resizing=always)
    small = config_of(
        pictures, data=known | {"image_size": 6}, augment=mixed, progressive_resizing=None
    )
    run(shrunk, tmp_path / "shrunk")
    run(small, tmp_path / "small")
    assert_same(tmp_path / "shrunk", tmp_path / "small")


def test_validation_has_the_full_size(pictures: Path, tmp_path: Path) -> None:
    """With a learning rate of 0, its loss does not depend on the size of training images."""
    still: dict[str, Any] = {"optimizer": {"lr": 1e-30}, "freeze": ["batchnorm.*"]}
    watch = run(config_of(pictures, **still), tmp_path / "run")
    plain = run(config_of(pictures, progressive_resizing=None, **still), tmp_path / "plain")
    assert [row.val_loss for row in watch.rows] == [row.val_loss for row in plain.rows]
    assert [row.train_loss for row in watch.rows] != [row.train_loss for row in plain.rows]


def everything(pictures: Path, **keys: Any) -> Config:
    """Every technique, with images that are grown, mixed and measured."""
    how = ALL_TECHNIQUES["train"] | {"freeze": {"batchnorm.*": 2}, "epochs": 4} | keys
    return config_of(pictures, augment=ALL_TECHNIQUES["augment"], **how)


@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
@pytest.mark.parametrize("head", [None, {"epochs": 1}])
def test_a_resumed_run_gives_the_same_bits(
    pictures: Path, tmp_path: Path, head: Any, epoch: int
) -> None:
    config = everything(pictures, head=head)
    run(config, tmp_path / "whole")
    requests = Requests()

    def stop(at: int, step: int) -> None:
        if (at, step) == (epoch, 2):
            requests.ask_stop("terminated")

    run(config, tmp_path / "parts", watch=Watch(stop), requests=requests)
    run(config, tmp_path / "parts", resume=True)
    assert_same(tmp_path / "parts", tmp_path / "whole")


def test_bad_images_leave_no_gap(tmp_path: Path) -> None:
    """Those that are left keep their order: the run is as if the file had never been there."""
    root = make_pictures(tmp_path / "pictures", train=4)
    bad = root / "train" / "dark" / "3.png"
    bad.write_bytes(b"x")
    config = config_of(root, batch_size=12, data={"cache": "none"})
    run(config, tmp_path / "uncached", threads=1)
    run(config_of(root, batch_size=12), tmp_path / "cached", threads=1)
    assert_same(tmp_path / "uncached", tmp_path / "cached")
    assert (tmp_path / "cached" / "bad_files.txt").read_text().startswith(str(bad))


def test_numbers_that_are_not_finite_name_layer_and_images(pictures: Path, tmp_path: Path) -> None:
    config = config_of(pictures, optimizer={"lr": 1e30}, scheduler="constant")
    with pytest.raises(DivergedError, match=r"first in the output of layers\.6 \(linear\), for"):
        run(config, tmp_path / "run")


def test_the_plan_says_the_sizes(pictures: Path, tmp_path: Path) -> None:
    options = TrainOptions(tmp_path / "run", threads=1, backend="numpy")
    plan = plan_training(config_of(pictures), "x.yaml", options)
    assert plan.remarks == (
        "progressive_resizing: images of 4x4 from epoch 1, 6x6 from epoch 3, 8x8 from epoch 4",
    )
    whole = plan_training(config_of(pictures, progressive_resizing=None), "x.yaml", options)
    assert plan.memory_bytes == whole.memory_bytes


def test_the_preview_has_the_epochs_size(pictures: Path) -> None:
    config = config_of(pictures, augment={"cutmix": 1.0, "hflip": 0.5})
    shapes = [preview(config, "x.yaml", epoch, 4, 1).samples[0].pixels.shape for epoch in (0, 2, 3)]
    assert shapes == [(4, 4, 1), (6, 6, 1), (8, 8, 1)]


def test_a_range_test_has_the_full_size(pictures: Path) -> None:
    def losses(config: Config) -> list[float]:
        options = TrainOptions(None, threads=1, backend="numpy")
        found = range_test(config, "x.yaml", options, 5, 60.0, lambda _: None)
        return [point.loss for point in found.points]

    assert losses(config_of(pictures)) == losses(config_of(pictures, progressive_resizing=None))


POOLED = "would have other weights for images of 4x4; put global_avgpool before it"
FLAT = [LAYERS[0], "flatten", {"linear": {"out_features": "classes", "name": "scores"}}]
WIDE = [{"conv": {"out_channels": 6, "kernel_size": 5}}, "global_avgpool", {"linear": "classes"}]
# At 4x4, the strided convolution gives one pixel, and then the shortcut needs no projection.
NARROW = [
    {"conv": {"out_channels": 6, "kernel_size": 4}},
    {"residual": {"layers": [{"conv": {"out_channels": 6, "kernel_size": 1, "stride": 2}}]}},
    "global_avgpool",
    {"linear": "classes"},
]


@pytest.mark.parametrize(
    ("layers", "error"),
    [
        (FLAT, f"x.yaml: train.progressive_resizing: scores (linear) {POOLED}."),
        (
            WIDE,
            "x.yaml: train.progressive_resizing: the network does not fit images of 4x4: "
            "model.layers[0].conv: a 5x5 kernel does not fit its input of 4x4 (padding included). "
            "Got an input of 4x4x1.",
        ),
        (
            NARROW,
            "x.yaml: train.progressive_resizing: layers.1.shortcut.0 (conv) " + POOLED + ".",
        ),
    ],
)
def test_networks_of_one_size_are_refused(
    pictures: Path, tmp_path: Path, layers: Any, error: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_training(config_of(pictures, layers=layers), "x.yaml", TrainOptions(tmp_path / "run"))
    assert caught.value.line() == error


def test_one_image_is_too_few_where_one_pixel_is_left(pictures: Path, tmp_path: Path) -> None:
    layers = [{"conv": {"out_channels": 6, "kernel_size": 4}}, "batchnorm", *LAYERS[4:]]
    config = config_of(pictures, layers=layers, batch_size=1)
    with pytest.raises(ConfigError) as caught:
        plan_training(config, "x.yaml", TrainOptions(tmp_path / "run"))
    assert caught.value.line() == (
        "x.yaml: train.batch_size: must be at least 2: a batchnorm sees one value per channel of "
        "images of 4x4. Got 1."
    )
