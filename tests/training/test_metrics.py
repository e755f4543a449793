"""Counts and per-class scores, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np

from cnn_cli.training.metrics import (
    ClassScores,
    confusion_matrix,
    per_class,
    top_k,
    top_k_correct,
)


def test_top_k_is_highest_first() -> None:
    scores = np.array([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3]])
    assert top_k(scores, 2).tolist() == [[1, 2], [0, 2]]


def test_ties_keep_the_order_of_the_classes() -> None:
    scores = np.array([[0.25, 0.25, 0.25, 0.25], [0.1, 0.4, 0.1, 0.4]], np.float32)
    assert top_k(scores, 3).tolist() == [[0, 1, 2], [1, 3, 0]]


def test_k_is_capped_at_the_number_of_classes() -> None:
    scores = np.array([[0.1, 0.9]])
    assert top_k(scores, 5).tolist() == [[1, 0]]
    assert top_k_correct(scores, np.array([0]), 5) == 1


def test_top_k_correct_counts_images() -> None:
    scores = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [0.0, 0.0, 0.0]])
    labels = np.array([0, 1, 2, 1])
    assert [top_k_correct(scores, labels, k) for k in (1, 2, 3)] == [1, 3, 4]


def test_no_images() -> None:
    nothing = np.empty(0, np.int64)
    assert top_k_correct(np.empty((0, 3)), nothing, 1) == 0
    assert confusion_matrix(nothing, nothing, 2).tolist() == [[0, 0], [0, 0]]


def test_confusion_has_labels_in_rows() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    predictions = np.array([0, 1, 1, 1, 0, 2])
    confusion = confusion_matrix(labels, predictions, 4)
    assert confusion.dtype == np.int64
    assert confusion.tolist() == [[1, 2, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


def test_narrow_labels_do_not_overflow() -> None:
    labels = np.full(3, 200, np.uint8)
    assert confusion_matrix(labels, labels, 201)[200, 200] == 3


def test_per_class_scores() -> None:
    confusion = np.array([[1, 2, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])
    scores = per_class(confusion, ["a", "b", "c", "d"])
    assert list(scores) == ["a", "b", "c", "d"]
    assert scores["a"] == ClassScores(1 / 2, 1 / 3, 0.4, 3)
    assert scores["b"] == ClassScores(1 / 3, 1.0, 0.5, 1)
    assert scores["c"] == ClassScores(1.0, 1 / 2, 2 / 3, 2)
    # Never seen and never predicted: 0, not a division by zero.
    assert scores["d"] == ClassScores(0.0, 0.0, 0.0, 0)
