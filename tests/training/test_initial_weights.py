"""Initial weights: `--weights`, for the same and for other classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_networks import arrays_of

from cnn_cli.config import Config, validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.data.normalization import Normalization
from cnn_cli.errors import DataError
from cnn_cli.nn.graph import Graph
from cnn_cli.runs.checkpoint import Checkpoint, save_checkpoint
from cnn_cli.training.initial_weights import InitialWeights, head_names, initial_weights

LAYERS: list[Any] = [
    {"conv": {"out_channels": 4, "kernel_size": 3, "bias": False}},
    "batchnorm",
    "relu",
    "global_avgpool",
    {"linear": {"out_features": 5, "name": "neck"}},
    "relu",
    {"linear": {"out_features": "classes", "name": "head"}},
]


def network(
    classes: int, layers: list[Any] = LAYERS, seed: int = 0, weights: Path | None = None
) -> tuple[Config, Graph]:
    train = {"seed": seed, "weights": None if weights is None else str(weights)}
    config = validate_config({"model": {"layers": layers}, "train": train}, "x")
    return config, build_graph(config.model, (6, 6, 3), classes, "x")


def start(classes: str, weights: Path | None, **how: Any) -> InitialWeights:
    config, graph = network(len(classes), seed=1, weights=weights, **how)
    return initial_weights(config, graph, tuple(classes), "x")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """With the classes a, b and c."""
    config, graph = network(3)
    params = initial_weights(config, graph, ("a", "b", "c"), "x").params
    meta = {
        "config": {"model": {"layers": LAYERS}},
        "classes": ["a", "b", "c"],
        "preprocess": {"height": 6, "width": 6, "channels": 3, "resize_mode": "crop"},
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
    }
    path = tmp_path / "old.npz"
    save_checkpoint(path, Checkpoint(meta, {"model": arrays_of(params)}))
    return path


def test_the_same_classes_take_all_weights(checkpoint: Path) -> None:
    config, graph = network(3)
    old = arrays_of(initial_weights(config, graph, ("a", "b", "c"), "x").params)
    new = start("abc", checkpoint)
    assert new.note is None
    for name, array in arrays_of(new.params).items():
        np.testing.assert_array_equal(array, old[name])


@pytest.mark.parametrize(
    ("classes", "note"),
    [
        ("xy", "starts near zero: none of your classes is among the 3 of {}"),
        ("xyz", "starts near zero: none of your classes is among the 3 of {}"),
        ("abcd", "keeps the weights of 3 classes of {}; 1 starts near zero"),
        ("xbyz", "keeps the weights of 1 class of {}; 3 start near zero"),
        ("ca", "keeps the weights of 2 classes of {}"),
        ("acb", "keeps the weights of 3 classes of {}"),
    ],
)
def test_other_classes_start_near_zero(checkpoint: Path, classes: str, note: str) -> None:
    config, graph = network(3)
    old = arrays_of(initial_weights(config, graph, ("a", "b", "c"), "x").params)
    fresh = arrays_of(start(classes, None).params)
    new = start(classes, checkpoint)
    assert new.note == f"head {note.format(checkpoint)}"
    for name, array in arrays_of(new.params).items():
        if not name.startswith("head/"):
            np.testing.assert_array_equal(array, old[name], err_msg=name)
            continue
        for row, each in enumerate(classes):
            new_row = fresh[name][row] * (1 if fresh[name].ndim == 1 else np.float32(0.01))
            expected = old[name]["abc".index(each)] if each in "abc" else new_row
            np.testing.assert_array_equal(array[row], expected, err_msg=f"{name}, {each}")


def test_a_run_folder_is_its_best_checkpoint(checkpoint: Path) -> None:
    checkpoint.rename(checkpoint.parent / "best.npz")
    assert start("abc", checkpoint.parent).note is None


def test_another_network_is_refused(checkpoint: Path) -> None:
    other = [{"conv": {"out_channels": 5, "kernel_size": 3, "bias": False}}, *LAYERS[1:]]
    with pytest.raises(DataError, match=r"tensors do not match the network\. Got misshapen"):
        start("xy", checkpoint, layers=other)


def test_without_a_head_of_the_classes_they_must_be_the_same(checkpoint: Path) -> None:
    fixed = [*LAYERS[:-1], {"linear": {"out_features": 3, "name": "head"}}]
    assert head_names(*network(3)) == ["head"]
    with pytest.raises(DataError) as caught:
        start("xyz", checkpoint, layers=fixed)
    rule = "its classes must be the data's, since no layer's size is `classes`"
    assert caught.value.line() == f"{checkpoint}: {rule}. Got a, b, c."


def test_normalization_comes_along(checkpoint: Path) -> None:
    new = start("abc", checkpoint)
    assert new.normalization == Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert new.compare(new.normalization) is None
    other = Normalization((0.1, 0.2, 0.4), (0.4, 0.5, 0.6))
    expected = "data.mean and data.std are not those that the weights were trained with"
    assert new.compare(other) == expected
    assert new.compare(Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 16)) == expected
    assert start("abc", None).compare(other) is None
