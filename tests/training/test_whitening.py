"""Whitening convolutions: the effect of their filters on the images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learnable import config_document, make_pictures

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.config.sections import ModelConfig
from cnn_cli.data.decode import load_image
from cnn_cli.errors import ConfigError
from cnn_cli.inference.classifier import Classifier
from cnn_cli.nn.layers.base import ParamSpec
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.training import whitening
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Silent
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train
from cnn_cli.training.whitening import whitening_filters


def spec(out: int, channels: int = 2, side: int = 2, eps: float = 0.0) -> ParamSpec:
    shape = (side, side, channels, out)
    return ParamSpec("weight", shape, "weight", 1, (3, 2, 0, 1), "whitening", eps)


def test_filters_make_moments_the_identity() -> None:
    mixing = np.random.default_rng(0).standard_normal((8, 8))
    moments = mixing @ mixing.T
    filters = whitening_filters(moments, spec(16)).reshape(16, 8)
    np.testing.assert_allclose(filters[:8] @ moments @ filters[:8].T, np.eye(8), atol=1e-9)
    np.testing.assert_array_equal(filters[8:], -filters[:8])


def test_few_filters_are_those_of_the_largest_moments_and_eps_holds_small_ones_back() -> None:
    moments = np.diag([1.0, 9.0, 0.0, 4.0, 0.25, 0.0, 0.0, 0.0])
    filters = whitening_filters(moments, spec(6, eps=0.0)).reshape(6, 8)
    expected = np.zeros((3, 8))
    expected[0, 1], expected[1, 3], expected[2, 0] = 1 / 3, 1 / 2, 1
    np.testing.assert_allclose(np.abs(filters[:3]), expected, atol=1e-12)
    largest = np.abs(whitening_filters(moments, spec(16, eps=0.01))).max()
    assert largest == pytest.approx(10)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


def document(pictures: Path, **train: Any) -> dict[str, Any]:
    found = config_document(pictures, **train)
    found["model"]["layers"][0]["conv"] |= {
        "kernel_size": 2,
        "padding": 0,
        "out_channels": 8,
        "init": {"type": "whitening", "eps": 1e-9},
    }
    return found


def run(pictures: Path, out: Path, weights: Path | None = None, **keys: Any) -> None:
    keys["weights"] = None if weights is None else str(weights)
    config = validate_config(document(pictures, **keys), "a.yaml")
    options = TrainOptions(out=out, threads=2)
    train(config, "a.yaml", options, Requests(), Silent())


def test_the_first_layers_output_is_white(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "run", epochs=0, ema=0.9)
    classifier = Classifier.load(tmp_path / "run")  # the averaged weights
    scale, shift = classifier.normalization.scale_and_shift()
    paths = sorted((pictures / "train").rglob("*.png"))
    x = np.stack([load_image(path, classifier.preprocess) for path in paths]) * scale + shift
    windows = np.lib.stride_tricks.sliding_window_view(x, (2, 2), axis=(1, 2))
    weight = classifier.params.named()["stem/weight"].astype(np.float64)
    y = np.einsum("nhwcij,ocij->nhwo", windows, weight).reshape(-1, 8)
    np.testing.assert_allclose(y[:, :4].T @ y[:, :4] / len(y), np.eye(4), atol=1e-5)
    np.testing.assert_allclose(y[:, 4:], -y[:, :4], rtol=1e-5)


def test_the_images_are_drawn_at_random(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    moments = whitening._patch_moments

    def watched(patch: Any, loader: Any, normalization: Any, indices: Any) -> Any:
        seen.append(sorted(indices))
        return moments(patch, loader, normalization, indices)

    monkeypatch.setattr(whitening, "_patch_moments", watched)
    monkeypatch.setattr(whitening, "IMAGES", 5)
    for seed in (0, 1):
        run(pictures, tmp_path / f"{seed}", epochs=0, seed=seed)
    assert [len(each) for each in seen] == [5, 5]
    assert seen[0] != seen[1]


def test_resumed_with_whitening_freezing_and_dropped_paths(pictures: Path, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"freeze": {"stem.weight": 0, "stem.bias": 1}}
    block = {"layers": [{"conv": {"out_channels": 8, "kernel_size": 1}}], "drop_path": 0.5}

    def go(out: Path, stop_at: tuple[int, int] | None, resume: bool = False) -> dict[str, Any]:
        requests = Requests()

        class Stop(Silent):
            def step(self, epoch: int, step: int, images: int, loss: float, top1: float) -> None:
                if (epoch, step) == stop_at:
                    requests.ask_stop("terminated")

        found = document(pictures, **keys)
        found["model"]["layers"].insert(1, {"residual": block})
        config = validate_config(found, "a.yaml")
        train(config, "a.yaml", TrainOptions(out=out, threads=2, resume=resume), requests, Stop())
        return load_checkpoint(out / "last.npz").groups["model"]

    whole = go(tmp_path / "whole", None)
    go(tmp_path / "parts", (2, 2))
    parts = go(tmp_path / "parts", None, resume=True)
    for name, array in whole.items():
        np.testing.assert_array_equal(parts[name], array)


def test_given_weights_are_not_written_over(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "a", epochs=1)
    run(pictures, tmp_path / "b", tmp_path / "a" / "last.npz", epochs=0)
    before, after = (load_checkpoint(tmp_path / x / "last.npz").groups["model"] for x in "ab")
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [{"conv": {"out_channels": 26, "kernel_size": 2, "init": "whitening"}}],
            "layers[0].conv: init whitening needs an even number of out_channels, at most 24, "
            "not 26. Got an input of 8x8x3.",
        ),
        (
            ["relu", {"conv": {"out_channels": 4, "kernel_size": 2, "init": "whitening"}}],
            "layers[1].conv: init whitening is for a layer that reads the image itself.",
        ),
        (
            [{"conv": {"out_channels": 6, "kernel_size": 2, "groups": 3, "init": "dirac"}}],
            "layers[0].conv: init dirac needs a convolution of one group, not 3. "
            "Got an input of 8x8x3.",
        ),
    ],
)
def test_what_cannot_be_is_refused(layers: list[Any], message: str) -> None:
    model = ModelConfig.model_validate({"layers": [*layers, {"linear": "classes"}]})
    with pytest.raises(ConfigError) as caught:
        build_graph(model, (8, 8, 3), 5, "a.yaml")
    assert str(caught.value) == f"a.yaml: model.{message}"
