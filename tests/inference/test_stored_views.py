"""Test-time augmentation that a checkpoint brings along: by hand, in ensembles, overridden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from learnable import config_document, make_pictures

import cnn_cli
from cnn_cli.config import validate_config
from cnn_cli.data.dataset import Split
from cnn_cli.data.decode import load_image
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.views import TTA
from cnn_cli.errors import DataError
from cnn_cli.inference.calibration import best_temperature, calibrate, store
from cnn_cli.inference.classifier import ONE_VIEW, Classifier
from cnn_cli.inference.ensemble import Ensemble
from cnn_cli.inference.evaluate_files import EvaluationOptions, evaluate_files, own_dataset
from cnn_cli.inference.opening import open_classifier
from cnn_cli.inference.rejecting import RejectingScorer, learn_rejection
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.loss import softmax
from cnn_cli.nn.types import Array
from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Silent
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images; a run with one view, `plain`; its checkpoint with each kind, `KIND.npz`."""
    root = tmp_path_factory.mktemp("views")
    config = validate_config(config_document(make_pictures(root / "pictures"), epochs=1), "x.yaml")
    options = TrainOptions(out=root / "plain", threads=1, backend="numpy")
    train(config, "x.yaml", options, Requests(), Silent())
    for kind in TTA:
        changed(root / "plain/last.npz", root / f"{kind}.npz", kind)
    return root


def changed(source: Path, target: Path, tta: str | None) -> Path:
    """Write a copy of a checkpoint with another `augment.tta`."""
    checkpoint = load_checkpoint(source)
    checkpoint.meta["config"]["augment"]["tta"] = tta
    save_checkpoint(target, checkpoint)
    return target


def files(folder: Path) -> list[Path]:
    return sorted((folder / "pictures/val").rglob("*.png"))[:7]


def views_by_hand(paths: list[Path], kind: str) -> list[tuple[float, Array]]:
    """Return weights and pixels of the views, as the documentation describes them."""
    side = 9 if kind == "tencrop" else 8
    x = np.stack([load_image(path, Preprocess(side, side, 1)) for path in paths])
    if kind == "hflip":
        crops = [(1 / 2, x)]
    elif kind == "multicrop":
        framed = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        crops = [(1 / 4, x), (1 / 8, framed[:, :8, :8]), (1 / 8, framed[:, 2:, 2:])]
    else:
        corners = [x[:, i : i + 8, j : j + 8] for i in (0, 1) for j in (0, 1)]
        crops = [(1 / 10, crop) for crop in (*corners, x[:, :8, :8])]
    return [(weight, each) for weight, crop in crops for each in (crop, crop[:, :, ::-1])]


def logits_by_hand(classifier: Classifier, paths: list[Path], kind: str) -> Array:
    with classifier.engine(1) as engine:
        mean: Array = np.sum(
            [
                weight * engine.predict(np.ascontiguousarray(pixels))
                for weight, pixels in views_by_hand(paths, kind)
            ],
            axis=0,
        )
    return mean


def probabilities(path: Path | list[Path], paths: list[Path], tta: str | None = None) -> Array:
    """Return what Python's interface answers."""
    with cnn_cli.load(path, threads=1, backend="numpy", tta=tta) as model:
        return np.array(
            [
                [dict(found.topk)[name] for name in model.classes]
                for found in model.predict(paths, batch_size=3)
            ]
        )


@pytest.mark.parametrize("kind", TTA)
def test_predictions_average_the_views(folder: Path, kind: str) -> None:
    classifier, paths = Classifier.load(folder / f"{kind}.npz"), files(folder)
    assert (classifier.tta, classifier.tta_text) == (kind, kind)
    logits = logits_by_hand(classifier, paths, kind)
    by_hand = softmax(logits)
    said = probabilities(folder / f"{kind}.npz", paths)
    np.testing.assert_allclose(said, by_hand, atol=1e-6)
    assert np.abs(said - probabilities(folder / "plain/last.npz", paths)).max() > 1e-4
    images = Split([str(path) for path in paths], np.zeros(len(paths), np.int64))
    evaluation, _ = evaluate_files(classifier, images, EvaluationOptions(threads=1))
    assert evaluation.logits is not None
    np.testing.assert_allclose(evaluation.logits, logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", TTA)
def test_arrays_and_files_give_the_same(folder: Path, kind: str) -> None:
    from PIL import Image

    paths = files(folder)
    arrays = [np.asarray(Image.open(path)) for path in paths]
    with cnn_cli.load(folder / f"{kind}.npz", threads=1) as model:
        assert model.image_size == (8, 8)
        assert model.predict(arrays) == model.predict(paths)


def test_another_kind_replaces_it(folder: Path) -> None:
    paths = files(folder)
    plain = probabilities(folder / "plain/last.npz", paths)
    np.testing.assert_array_equal(probabilities(folder / "hflip.npz", paths, ONE_VIEW), plain)
    np.testing.assert_array_equal(
        probabilities(folder / "hflip.npz", paths, "tencrop"),
        probabilities(folder / "tencrop.npz", paths),
    )
    np.testing.assert_array_equal(
        probabilities(folder / "plain/last.npz", paths, "hflip"),
        probabilities(folder / "hflip.npz", paths),
    )


@pytest.mark.parametrize("tta", ["vflip", "", 3])
def test_python_refuses_an_unknown_kind(folder: Path, tta: object) -> None:
    with pytest.raises(ValueError, match="tta") as caught:
        cnn_cli.load(folder / "plain", tta=tta)  # type: ignore[arg-type]  # wrong on purpose
    assert str(caught.value) == f"tta must be none, hflip, multicrop or tencrop. Got {tta!r}."


def test_one_view_has_the_plain_engine(folder: Path, tmp_path: Path) -> None:
    for path in (folder / "plain", changed(folder / "hflip.npz", tmp_path / "m.npz", None)):
        classifier = Classifier.load(path)
        assert (classifier.tta, classifier.views, classifier.tta_text) == (None, None, None)
        assert classifier.decoding is classifier.preprocess
        with classifier.scorer(1) as scorer:
            assert type(scorer) is Engine


def test_a_checkpoint_of_an_older_version_has_one_view(folder: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(folder / "hflip.npz")
    del checkpoint.meta["config"]["augment"]["tta"]
    save_checkpoint(tmp_path / "old.npz", checkpoint)
    assert Classifier.load(tmp_path / "old.npz").tta is None
    del checkpoint.meta["config"]["augment"]
    save_checkpoint(tmp_path / "older.npz", checkpoint)
    assert Classifier.load(tmp_path / "older.npz").tta is None


def test_each_network_of_an_ensemble_has_its_own(folder: Path, tmp_path: Path) -> None:
    paths = files(folder)
    members = [folder / "hflip.npz", folder / "plain/last.npz", tmp_path / "warm.npz"]
    checkpoint = load_checkpoint(folder / "multicrop.npz")
    checkpoint.meta["calibration"] = {"temperature": 2.5}
    save_checkpoint(members[2], checkpoint)
    expected = np.mean([probabilities(path, paths) for path in members], axis=0)
    np.testing.assert_allclose(probabilities(members, paths), expected, atol=1e-6)
    assert open_classifier(members).tta_text == "hflip, none, multicrop"
    assert open_classifier(members[:1] * 2).tta_text == "hflip"
    assert open_classifier(members, ONE_VIEW).tta_text is None
    expected = np.mean([probabilities(path, paths, "tencrop") for path in members], axis=0)
    np.testing.assert_allclose(probabilities(members, paths, "tencrop"), expected, atol=1e-6)


def test_networks_that_decode_differently_need_one_rule(folder: Path) -> None:
    some = [folder / "tencrop.npz", folder / "hflip.npz"]
    with pytest.raises(DataError) as caught:
        open_classifier(some)
    rule = f"must decode images as {some[0]} does, or --tta must be the same for all"
    assert caught.value.line() == f"{some[1]}: {rule}. Got tta hflip, not tencrop."
    assert isinstance(open_classifier(some, "hflip"), Ensemble)
    together = probabilities([some[0], some[0]], files(folder))
    np.testing.assert_allclose(together, probabilities(some[0], files(folder)), atol=1e-6)


@pytest.mark.parametrize("kind", TTA)
def test_the_temperature_is_that_of_the_averaged_scores(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    path = changed(folder / "plain/last.npz", tmp_path / "m.npz", kind)
    classifier = Classifier.load(path)
    val = own_dataset(classifier).val
    assert val is not None
    labels = val.labels.copy()
    labels[::6] = (labels[::6] + 1) % 3  # some that the network gets wrong
    images = Split(val.paths, labels)
    evaluation, _ = evaluate_files(classifier, images, EvaluationOptions(threads=1), calibrate=True)
    found = calibrate(evaluation)
    assert found is not None
    paths = [Path(path) for path in images.paths]
    logits = logits_by_hand(classifier, paths, kind)
    assert found.temperature == pytest.approx(best_temperature(logits, images.labels), rel=1e-4)
    store(path, found)
    by_hand = softmax(logits / found.temperature)
    np.testing.assert_allclose(probabilities(path, paths), by_hand, atol=1e-6)


@pytest.mark.parametrize("kind", TTA)
def test_rejection_uses_the_mean_features_of_the_views(folder: Path, kind: str) -> None:
    classifier = Classifier.load(folder / f"{kind}.npz")
    data = own_dataset(classifier)
    assert data.val is not None
    learnt = learn_rejection(classifier, data.train, data.val, 0.25, 1, "numpy")
    assert (learnt.images, learnt.refused) == (24, 5)
    rejecting = Classifier(
        **{name: getattr(classifier, name) for name in Classifier.__match_args__}
        | {"rejection": learnt}
    )
    paths = [Path(path) for path in data.val.paths]
    pixels = np.stack([load_image(path, classifier.decoding) for path in paths])
    with RejectingScorer(rejecting, rejecting.engine(1)) as scorer:
        logits = scorer.predict(pixels)
        assert scorer.rejected.sum() == 5
    np.testing.assert_allclose(
        logits, logits_by_hand(classifier, paths, kind), rtol=1e-4, atol=1e-4
    )


def test_networks_of_other_views_have_the_same_digest_because_their_features_are(
    folder: Path,
) -> None:
    """An index of features is of one view: `cnn similar` may ask either checkpoint."""
    digests = {Classifier.load(folder / f"{kind}.npz").digest() for kind in TTA}
    assert digests == {Classifier.load(folder / "plain/last.npz").digest()}
