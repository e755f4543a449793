"""Ensembles: the mean of the probabilities, for any order of classes."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from learnable import config_document, make_pictures

from cnn_cli.config import validate_config
from cnn_cli.data.decode import load_image
from cnn_cli.errors import DataError
from cnn_cli.inference.classifier import Classifier, SeveralLabels
from cnn_cli.inference.ensemble import Ensemble, EnsembleEngine, _several
from cnn_cli.inference.opening import open_classifier
from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Silent
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, and runs `1`, `2`, `3` with three seeds."""
    root = tmp_path_factory.mktemp("ensemble")
    make_pictures(root / "pictures")
    for seed in (1, 2, 3):
        document = config_document(root / "pictures", epochs=1)
        document["train"]["seed"] = seed
        config = validate_config(document, "x.yaml")
        options = TrainOptions(out=root / str(seed), threads=1, backend="numpy")
        train(config, "x.yaml", options, Requests(), Silent())
    return root


def paths(folder: Path) -> list[Path]:
    return [folder / str(seed) / "last.npz" for seed in (1, 2, 3)]


def pixels(folder: Path) -> np.ndarray:
    pre = Classifier.load(folder / "1").preprocess
    files = sorted((folder / "pictures/val").rglob("*.png"))[:9]
    return np.stack([load_image(file, pre) for file in files])


def said(classifier: Classifier, x: np.ndarray, threads: int = 1) -> np.ndarray:
    with classifier.scorer(threads) as scorer:
        return classifier.probabilities(scorer.predict(x))


def changed(source: Path, target: Path, **meta: object) -> Path:
    checkpoint = load_checkpoint(source)
    checkpoint.meta |= meta
    save_checkpoint(target, checkpoint)
    return target


def test_the_mean_of_the_probabilities(folder: Path, tmp_path: Path) -> None:
    x, some = pixels(folder), paths(folder)
    some[1] = changed(some[1], tmp_path / "warm.npz", calibration={"temperature": 2.5})
    expected = np.mean([said(Classifier.load(path), x) for path in some], axis=0)
    ensemble = open_classifier(some)
    assert isinstance(ensemble, Ensemble)
    np.testing.assert_allclose(said(ensemble, x, threads=2), expected, rtol=1e-5)


def test_one_checkpoint_is_no_ensemble(folder: Path) -> None:
    assert type(open_classifier([folder / "1"])) is Classifier
    same = open_classifier([folder / "1"] * 2)
    x = pixels(folder)
    np.testing.assert_allclose(said(same, x), said(Classifier.load(folder / "1"), x), rtol=1e-5)


def test_classes_in_another_order(folder: Path, tmp_path: Path) -> None:
    """Reordering the last layer's rows does not change the predictions."""
    checkpoint = load_checkpoint(folder / "2/last.npz")
    order = [2, 0, 1]
    checkpoint.meta["classes"] = [checkpoint.meta["classes"][i] for i in order]
    last = [name for name in checkpoint.groups["model"] if name.endswith("weight")][-1]
    for name in (last, last.replace("weight", "bias")):
        checkpoint.groups["model"][name] = checkpoint.groups["model"][name][order]
    save_checkpoint(tmp_path / "turned.npz", checkpoint)
    x, (first, second, _) = pixels(folder), paths(folder)
    expected = said(open_classifier([first, second]), x)
    found = said(open_classifier([first, tmp_path / "turned.npz"]), x)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_probabilities_that_a_float32_cannot_hold(folder: Path, tmp_path: Path) -> None:
    """A class with probability 0 in one network gets half of the other's; no loss is infinite."""
    checkpoint = load_checkpoint(folder / "1/last.npz")
    for name, array in checkpoint.groups["model"].items():
        checkpoint.groups["model"][name] = array * 1e3
    save_checkpoint(tmp_path / "sure.npz", checkpoint)
    x = pixels(folder)
    with open_classifier([tmp_path / "sure.npz"] * 2).scorer(1) as scorer:
        assert np.isfinite(scorer.predict(x)).all()


def test_one_team_of_threads(folder: Path) -> None:
    before = threading.active_count()
    with open_classifier(paths(folder)).scorer(4) as scorer:
        assert threading.active_count() == before + 3
        scorer.predict(pixels(folder))
    for thread in threading.enumerate():
        if thread.name.startswith("cnn-worker"):
            thread.join(10)
    assert threading.active_count() == before


def test_what_does_not_go_together(folder: Path, tmp_path: Path) -> None:
    first = paths(folder)[0]
    other = changed(first, tmp_path / "a.npz", classes=["bright", "dark", "dotted"])
    with pytest.raises(DataError) as caught:
        open_classifier([first, other])
    rule = f"must have the classes of {first}. Got 'dotted' in {other} only."
    assert caught.value.line() == f"{other}: {rule}"
    meta = load_checkpoint(first, ()).meta
    squashed = meta["preprocess"] | {"resize_mode": "squash"}
    other = changed(first, tmp_path / "b.npz", preprocess=squashed)
    with pytest.raises(DataError) as caught:
        open_classifier([first, other])
    rule = f"must prepare images as {first} does"
    assert caught.value.line() == f"{other}: {rule}. Got 8×8×1, squash, not 8×8×1, crop."


@pytest.mark.parametrize("several", [False, True])
def test_logits_are_those_of_the_mean_probabilities(several: bool) -> None:
    """Each network has its own temperature and its own order of the classes."""
    rng = np.random.default_rng(0)
    scores = [rng.normal(size=(5, 3)) * 3 for _ in range(2)]
    labels = SeveralLabels("|", (0.5,) * 3) if several else None
    engine: Any = EnsembleEngine.__new__(EnsembleEngine)
    engine.dtype = np.dtype(np.float64)
    engine.engines = [0, 1]
    engine._members = [SimpleNamespace(temperature=t, several=labels) for t in (1.0, 2.5)]
    engine._orders = [None, np.array([2, 0, 1])]
    for position, numbers in ((0, [0, 2]), (1, [2, 1])):
        assert engine.own_numbers(position, np.array([0, 2])).tolist() == numbers
    found = engine.mean(lambda number: scores[number])
    odds = [np.exp(scores[0]), np.exp(scores[1] / 2.5)[:, [2, 0, 1]]]
    if several:
        p = np.mean([each / (1 + each) for each in odds], axis=0)
        np.testing.assert_allclose(found, np.log(p / (1 - p)))
    else:
        p = np.mean([each / each.sum(axis=1, keepdims=True) for each in odds], axis=0)
        np.testing.assert_allclose(found, np.log(p))


def test_thresholds_follow_their_classes() -> None:
    """Those of a network with another order are put into the first one's."""
    members: Any = [
        SimpleNamespace(classes=("a", "b", "c"), several=SeveralLabels("|", (0.1, 0.2, 0.3))),
        SimpleNamespace(classes=("c", "a", "b"), several=SeveralLabels("|", (0.5, 0.3, 0.4))),
    ]
    found = _several(members)
    assert found is not None
    assert found.thresholds == pytest.approx((0.2, 0.3, 0.4))


@pytest.mark.parametrize(
    ("key", "parts"),
    [("fold", ["val"]), ("val_split", ["val"]), ("group", ["val", "test"]), ("classes", [])],
)
def test_networks_agree_on_a_part_if_its_keys_are_equal(key: str, parts: list[str]) -> None:
    plain = dict.fromkeys(("root", "columns", "test_split", "group", "val_split", "fold"), 1)
    members = [
        SimpleNamespace(meta={}, config=SimpleNamespace(data=SimpleNamespace(**keys)))
        for keys in (plain, plain | {key: 2})
    ]
    networks: Any = SimpleNamespace(members=members)
    found = [part for part in ("val", "test", "all") if not Ensemble.agrees_on(networks, part)]
    assert found == parts
