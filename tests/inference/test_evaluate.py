"""What is kept of each image during an evaluation."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.inference.evaluate import Evaluation, evaluate, evaluation_bytes, row_blocks
from cnn_cli.inference.metrics import top_k
from cnn_cli.nn.loss import softmax
from cnn_cli.nn.types import Array
from cnn_cli.training.memory import plan_memory

NUMBERS = (
    "labels",
    "indices",
    "losses",
    "squared_errors",
    "label_probabilities",
    "label_ranks",
    "guesses",
    "confidences",
    "seconds",
    "second_probabilities",
)


def blocks(rows: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, rows, size))


@pytest.mark.parametrize("classes", [2, 3, 10, 129, 1000])
@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_numbers_are_those_of_the_whole_array(classes: int, temperature: float) -> None:
    rng = np.random.default_rng(classes)
    logits = np.round(rng.standard_normal((50, classes)) * 3, 1).astype(np.float32)  # with ties
    labels, rows = rng.integers(0, classes, 50), np.arange(50)
    whole = Evaluation.of(logits, labels, rows, temperature)
    p = softmax(logits if temperature == 1 else logits / temperature)
    order = top_k(p, classes)
    np.testing.assert_array_equal(whole.guesses, order[:, 0])
    np.testing.assert_array_equal(whole.seconds, order[:, 1])
    np.testing.assert_array_equal(whole.confidences, p.max(axis=1))
    np.testing.assert_array_equal(whole.second_probabilities, p[rows, order[:, 1]])
    np.testing.assert_array_equal(whole.label_probabilities, p[rows, labels])
    np.testing.assert_array_equal(order[rows, whole.label_ranks], labels)
    np.testing.assert_allclose(whole.losses, -np.log(p[rows, labels]), rtol=1e-4, atol=1e-6)
    for size in (1, 7, 32):
        parts = [
            Evaluation.of(logits[at], labels[at], rows[at], temperature) for at in blocks(50, size)
        ]
        joined = Evaluation.joined(parts)
        for name in NUMBERS:
            np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name), name)
        assert joined.loss == whole.loss == whole.totals[0] / 50


def test_the_second_guess_of_a_certain_network_is_another_class() -> None:
    found = Evaluation.of(np.array([[999, 0, 0]], np.float32), np.array([0]), np.array([0]))
    assert (found.guesses.tolist(), found.seconds.tolist()) == ([0], [1])


def test_joined_parts_keep_their_logits_and_their_temperature() -> None:
    """Both decide how the images are ranked: AUC and average precision."""
    rng = np.random.default_rng(0)
    logits, labels, rows = rng.standard_normal((9, 4)), rng.integers(0, 4, 9), np.arange(9)
    joined = Evaluation.joined(
        [
            Evaluation.of(logits[at], labels[at], rows[at], 1.7).with_logits(logits[at])
            for at in blocks(9, 4)
        ]
    )
    odds = np.exp(logits / 1.7)
    expected = odds / odds.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(list(joined.probabilities_by_class()), expected.T)


def test_row_blocks() -> None:
    assert list(row_blocks(5, 2**20)) == [slice(0, 2), slice(2, 4), slice(4, 6)]
    assert list(row_blocks(2, 2**30)) == [slice(0, 1), slice(1, 2)]


def split_of(n: int, classes: int, batch: int) -> tuple[Any, Any]:
    """Return an engine and a loader that create no more than a batch at a time."""
    labels = np.arange(n) % classes

    def predict(images: Array, params: object) -> Array:
        rng = np.random.default_rng(int(images[0]))
        logits: Array = rng.standard_normal((len(images), classes), np.float32)
        return logits

    def batches(order: Array) -> Iterator[Any]:
        for at in blocks(n, batch):
            yield SimpleNamespace(images=order[at], labels=labels[at], indices=order[at])

    engine = SimpleNamespace(
        graph=SimpleNamespace(classes=classes), dtype=np.dtype("f4"), predict=predict
    )
    return engine, SimpleNamespace(split=range(n), batches=batches)


def test_memory_grows_with_images_not_with_their_scores() -> None:
    engine, loader = split_of(2000, 2000, 10)
    tracemalloc.start()
    found = evaluate(engine, loader)
    assert found.confusion.counts.sum() == 2000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.logits is None
    # The scores alone would take 16 MB, and a matrix 32 MB.
    assert peak < 1.5 * evaluation_bytes(2000, 2000, 10, 4) < 2_000_000


def test_the_plan_counts_the_evaluation() -> None:
    document = {"data": {"image_size": 8}, "model": {"layers": [{"linear": "classes"}]}}
    config = validate_config(document, "x")
    graph = build_graph(config.model, (8, 8, 3), 5000, "x")
    alone = plan_memory(config, graph, "x", 1, "numpy", images=100)
    both = plan_memory(config, graph, "x", 1, "numpy", images=100, to_validate=9000)
    more = evaluation_bytes(5000, 9000, config.train.batch_size, 4)
    assert both.nbytes - alone.nbytes == more > 8_000_000


def test_logits_are_kept_where_they_are_asked_for() -> None:
    engine, loader = split_of(50, 7, 20)
    plain, kept = evaluate(engine, loader), evaluate(engine, loader, keep_logits=True)
    assert kept.logits is not None
    assert kept.logits.shape == (50, 7)
    assert kept.loss == plain.loss
    divided = evaluate(engine, loader, temperature=1.7)
    later = kept.at_temperature(1.7)
    for name in NUMBERS:
        np.testing.assert_array_equal(getattr(later, name), getattr(divided, name), name)
    assert later.loss != kept.loss
    assert later.at_temperature(1.0).loss == kept.loss
    with pytest.raises(ValueError, match="evaluated without keep_logits"):
        plain.at_temperature(1.7)


def test_scores_that_are_not_finite_are_mistakes() -> None:
    """Otherwise a broken network would be right for all images of the first class."""
    logits = np.zeros((4, 3), np.float32)
    logits[:3], logits[3, 0] = np.nan, 1
    logits[1, 0] = np.inf
    found = Evaluation.of(logits, np.array([0, 1, 2, 0]), np.arange(4))
    assert found.right.tolist() == [False, False, False, True]
    assert found.label_ranks.tolist() == [3, 3, 3, 0]
    assert found.confusion.right.tolist() == [1, 0, 0]
    assert found.confusion.support.tolist() == [2, 1, 1]


def test_no_images() -> None:
    engine, loader = split_of(0, 7, 20)
    found = evaluate(engine, loader, keep_logits=True)
    assert np.isnan(found.loss)
    assert np.isnan(found.top1)
    assert found.totals.tolist() == [0, 0, 0]
    assert found.at_temperature(2.0) is found
    assert found.confusion.matrix.sum() == 0
