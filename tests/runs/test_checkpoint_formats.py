"""One checkpoint of each format ever written: all must stay readable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnn_cli.inference.classifier import Classifier
from cnn_cli.nn.loss import softmax
from cnn_cli.nn.params import Parameters
from cnn_cli.optim.optimizers import make_optimizer
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.runs.meta import FORMAT_VERSION
from cnn_cli.runs.state import TrainingState

DATA = Path(__file__).parent / "data"

# Each network's logits for two ramps when its file was written.
LOGITS = {
    1: [
        [-1.9583780765533447, 2.294107437133789, -1.262135624885559],
        [-0.22241812944412231, 0.34400850534439087, -0.3002397418022156],
    ],
}
FORMATS = list(LOGITS)


def file_of(version: int) -> Path:
    return DATA / f"checkpoint-v{version}.npz"


def test_there_is_one_of_each_format() -> None:
    assert list(range(1, FORMAT_VERSION + 1)) == FORMATS
    assert all(file_of(version).exists() for version in FORMATS)


@pytest.mark.parametrize("version", FORMATS)
def test_it_predicts_as_it_did(version: int) -> None:
    classifier = Classifier.load(file_of(version))
    assert classifier.classes == ("bright", "dark", "striped")
    images = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8, 1)
    with classifier.engine(1) as engine:
        probabilities = softmax(engine.predict(images))
    np.testing.assert_allclose(probabilities, softmax(np.array(LOGITS[version])), rtol=1e-4)


@pytest.mark.parametrize("version", FORMATS)
def test_training_can_go_on_from_it(version: int) -> None:
    place = str(file_of(version))
    checkpoint = load_checkpoint(place)
    classifier = Classifier.load(place)
    params = Parameters(classifier.graph, "float32")
    params.load(checkpoint.groups["model"], place)
    optimizer = make_optimizer(classifier.config.train.optimizer, params)
    optimizer.load_named_state(checkpoint.groups["optimizer"], place)
    assert (optimizer.steps == 8).all()
    state = TrainingState.from_meta(checkpoint.meta, place)
    assert (state.epoch, state.batch, len(state.rows)) == (2, 0, 2)
