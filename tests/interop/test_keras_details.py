"""Small Keras networks: what has no counterpart is an error or a note, never another network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_keras_file import layer, write_json

from cnn_cli.errors import CnnError
from cnn_cli.inference.classifier import Classifier
from cnn_cli.interop.importing import ImportOptions, import_weights
from cnn_cli.nn.types import Array

RNG = np.random.default_rng(0)
ROWS, COLUMNS, CHANNELS = SHAPE = (4, 3, 3)
DENSE = {"kernel": RNG.normal(size=(ROWS * COLUMNS * CHANNELS, 2)), "bias": RNG.normal(size=2)}
PER_CHANNEL = RNG.normal(size=(4, CHANNELS))
IMAGES = RNG.normal(size=(5, *SHAPE)).astype(np.float32)


def keras(folder: Path, middle: list[Any], arrays: dict[str, Any], *, dense: bool = True) -> Path:
    """Write a network whose layers follow each other, with a `Dense` layer at its end."""
    layers = [layer("InputLayer", "in", [], batch_input_shape=[None, *SHAPE])]
    ends: list[Any] = [("Flatten", "flat", {})]
    ends += [("Dense", "scores", {"units": 2, "activation": "linear"})] if dense else []
    for word, name, config in [*middle, *ends]:
        layers.append(layer(word, name, [layers[-1]["name"]], **config))
    return write_json(folder, layers, arrays | ({"scores": DENSE} if dense else {}))


def config(folder: Path, *layers: str) -> str:
    path = folder / "net.yaml"
    written = ", ".join([*layers, "flatten", "linear: classes"])
    path.write_text(
        f"data: {{image_size: [{ROWS}, {COLUMNS}], mean: [0, 0, 0], std: [1, 1, 1]}}\n"
        f"model: {{layers: [{written}]}}\n"
    )
    return str(path)


def run(path: Path, source: str | None, *keys: str, **options: Any) -> Any:
    given = {"mean": (0.0,), "std": (1.0,)} | options
    return import_weights(path, source, list(keys), path.parent / "out.npz", ImportOptions(**given))


def problem(path: Path, source: str | None, *keys: str, **options: Any) -> str:
    with pytest.raises(CnnError) as caught:
        run(path, source, *keys, **options)
    assert not (path.parent / "out.npz").exists()
    return caught.value.line()


def scores(path: Path) -> Array:
    classifier = Classifier.load(path.parent / "out.npz")
    with classifier.engine(1) as engine:
        return engine.predict(IMAGES).copy()


def dense(x: Array) -> Array:
    return x.reshape(len(x), -1) @ DENSE["kernel"] + DENSE["bias"]


@pytest.mark.parametrize("end", [[], [("Activation", "act", {"activation": "softmax"})]])
def test_a_map_that_is_flattened_to_scores(tmp_path: Path, end: list[Any]) -> None:
    """Its values would be in another order."""
    layers = [
        layer("InputLayer", "in", [], batch_input_shape=[None, *SHAPE]),
        layer("Flatten", "flat", ["in"]),
        *(layer(word, name, ["flat"], **keys) for word, name, keys in end),
    ]
    path = write_json(tmp_path, layers, {})
    rule = "must end in a score for each of two or more classes. Got 4x3x3."
    assert problem(path, None) == f"{path}: {rule}"


NORM = {"gamma": PER_CHANNEL[0], "beta": PER_CHANNEL[1]}


@pytest.mark.parametrize(
    ("word", "kind", "keys"),
    [("LayerNormalization", "layernorm", {}), ("GroupNormalization", "groupnorm", {"groups": 3})],
)
@pytest.mark.parametrize("by_map", [False, True])
def test_the_eps_of_other_norms(
    tmp_path: Path, word: str, kind: str, keys: dict[str, Any], by_map: bool
) -> None:
    """Only running variances can take another eps."""
    path = keras(tmp_path, [(word, "norm", {"epsilon": 0.5, **keys})], {"norm": NORM})
    groups = "num_groups: 3, " if keys else ""
    options: dict[str, Any] = {}
    if by_map:
        options["map_file"] = tmp_path / "map.yaml"
        options["map_file"].write_text("layers.0: norm\nlayers.2: scores\n")
    got = problem(path, config(tmp_path, f"{kind}: {{{groups}eps: 0.25}}"), **options)
    if by_map:
        assert got == f"{path}: {kind}.eps of layers.0 must be the file's, 0.5. Got 0.25."
    else:
        assert got.endswith("norm with eps 0.5, where layers.0 has 0.25.")
    run(path, config(tmp_path, f"{kind}: {{{groups}eps: 0.5}}"), **options)


def test_the_eps_of_a_batchnorm_that_a_map_names(tmp_path: Path) -> None:
    arrays = NORM | {"moving_mean": PER_CHANNEL[2], "moving_variance": PER_CHANNEL[3] ** 2}
    path = keras(tmp_path, [("BatchNormalization", "norm", {"epsilon": 0.5})], {"norm": arrays})
    mapping = tmp_path / "map.yaml"
    mapping.write_text("layers.0: norm\nlayers.2: scores\n")
    report = run(path, config(tmp_path, "batchnorm"), map_file=mapping)
    assert "other eps taken into running variances: 1" in report.notes
    x = (IMAGES - PER_CHANNEL[2]) / np.sqrt(PER_CHANNEL[3] ** 2 + 0.5)
    expected = dense(x * PER_CHANNEL[0] + PER_CHANNEL[1])
    np.testing.assert_allclose(scores(path), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("depth", "scale", "std"),
    [
        ("8", 1 / 255, 1),
        ("16", 1 / 65535, 1),
        ("16", 1 / 255, 255 / 65535),
        ("float", 1 / 255, 255),
    ],
)
def test_a_scale_of_pixels(tmp_path: Path, depth: str, scale: float, std: float) -> None:
    """Of whole numbers, mean and std are relative to white; floats are not scaled."""
    path = keras(tmp_path, [("Rescaling", "scale", {"scale": scale, "offset": 0})], {})
    report = run(path, None, f"data.depth={depth}", mean=None, std=None)
    np.testing.assert_allclose(report.std, [std] * CHANNELS)
    assert report.mean == (0,) * CHANNELS
    assert report.scaled == (depth != "float")


def test_floats_have_no_white(tmp_path: Path) -> None:
    path = keras(tmp_path, [], {})
    rule = "--value-range: goes with data.depth 8 or 16, whose values end at a white. Got 255.0."
    assert problem(path, None, "data.depth=float", value_range=255.0) == rule


def test_images_of_another_size(tmp_path: Path) -> None:
    pool = ("MaxPooling2D", "pool", {"pool_size": [3, 3], "strides": [2, 2], "padding": "same"})
    layers = [layer("InputLayer", "in", [], batch_input_shape=[None, *SHAPE])]
    for word, name, keys in [pool, ("GlobalAveragePooling2D", "mean", {})]:
        layers.append(layer(word, name, [layers[-1]["name"]], **keys))
    path = write_json(tmp_path, layers, {})
    note = "padding same is that of images of 4x3, the file's, such as in pool"
    assert note not in run(path, None).notes
    assert note in run(path, None, "data.image_size=[6, 6]").notes


def test_slopes_of_columns(tmp_path: Path) -> None:
    """There are as many as channels."""
    prelu = ("PReLU", "prelu", {"shared_axes": [1, 3]})
    path = keras(tmp_path, [prelu], {"prelu": {"alpha": PER_CHANNEL[:1].reshape(1, 3, 1)}})
    assert problem(path, None).startswith(f"{path}: ")
    prelu = ("PReLU", "prelu", {"shared_axes": [1, 2]})
    path = keras(tmp_path, [prelu], {"prelu": {"alpha": PER_CHANNEL[:1].reshape(1, 1, 3)}})
    run(path, None)
    x = np.where(IMAGES > 0, IMAGES, IMAGES * PER_CHANNEL[0])
    np.testing.assert_allclose(scores(path), dense(x), rtol=1e-4, atol=1e-4)
