"""Counts and per-class scores, against manual calculations."""

from __future__ import annotations

import numpy as np
import pytest

from cnn_cli.inference.metrics import (
    ClassScores,
    Confusion,
    calibration_bins,
    expected_calibration_error,
    label_ranks,
    per_class,
    top_k,
    wilson_interval,
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
    assert label_ranks(scores, np.array([0])).tolist() == [1]


def test_ranks_are_places_among_the_guesses() -> None:
    nan = np.nan
    rows = [[3.0, 2.0, 1.0], [0.0, 0.0, 0.0], [nan, nan, nan], [0.5, nan, 0.5], [-1.0, 2.0, -1.0]]
    scores = np.repeat(np.array(rows, np.float32), 3, axis=0)
    labels = np.tile(np.arange(3), len(rows))
    order = top_k(scores, 3)
    assert label_ranks(scores, labels).tolist() == [
        list(row).index(label) for row, label in zip(order, labels, strict=True)
    ]


def test_no_images() -> None:
    nothing = np.empty(0, np.int64)
    assert label_ranks(np.empty((0, 3)), nothing).tolist() == []
    assert Confusion.of(nothing, nothing, 2).matrix.tolist() == [[0, 0], [0, 0]]


def test_confusion_has_labels_in_rows() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    predictions = np.array([0, 1, 1, 1, 0, 2])
    confusion = Confusion.of(labels, predictions, 4)
    matrix = [[1, 2, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert confusion.matrix.dtype == np.int64
    assert confusion.matrix.tolist() == matrix
    assert [row.tolist() for row in confusion.rows()] == matrix
    assert Confusion.of_matrix(np.array(matrix)).matrix.tolist() == matrix
    assert confusion.right.tolist() == [1, 1, 1, 0]
    assert confusion.support.tolist() == [3, 1, 2, 0]
    assert confusion.predicted.tolist() == [2, 3, 1, 0]
    assert confusion.joined(4).matrix.tolist() == matrix
    assert confusion.joined(3).matrix.tolist() == [[4, 0], [1, 1]]
    assert confusion.joined(1).matrix.tolist() == [[6]]


def test_narrow_labels_do_not_overflow() -> None:
    labels = np.full(3, 200, np.uint8)
    assert Confusion.of(labels, labels, 201).matrix[200, 200] == 3


def test_per_class_scores() -> None:
    confusion = Confusion.of_matrix(
        np.array([[1, 2, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])
    )
    scores = per_class(confusion, ["a", "b", "c", "d"])
    assert list(scores) == ["a", "b", "c", "d"]
    assert scores["a"] == ClassScores(1 / 2, 1 / 3, 0.4, 2 / 3, 3)
    assert scores["b"] == ClassScores(1 / 3, 1.0, 0.5, 3 / 5, 1)
    assert scores["c"] == ClassScores(1.0, 1 / 2, 2 / 3, 1.0, 2)
    # Never present and never predicted: undefined, without a division by zero.
    assert scores["d"] == ClassScores(None, None, None, 1.0, 0)
    assert [scores[name].rank for name in "abcd"] == [0.4, 0.5, 2 / 3, 2.0]


@pytest.mark.parametrize(
    ("correct", "images", "interval"),
    [
        # Newcombe 1998, table I, method 3.
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (20, 20, (1 - 0.1611, 1.0)),
    ],
)
def test_wilson_interval(correct: int, images: int, interval: tuple[float, float]) -> None:
    assert wilson_interval(correct, images) == pytest.approx(interval, abs=5e-5)


def test_expected_calibration_error() -> None:
    """Two images in the bin from 8/15 to 9/15, half of them correct; one at 0.9, correct."""
    confidence = np.array([0.55, 0.59, 0.9])
    error = expected_calibration_error(confidence, np.array([True, False, True]))
    assert error == pytest.approx((2 * abs(0.5 - 0.57) + abs(1 - 0.9)) / 3)


def test_calibration_bins() -> None:
    hits = np.array([True, False, True, False])
    images, confidence, right = calibration_bins(np.array([0.55, 0.59, 0.9, 1.0]), hits)
    assert images.tolist() == [0] * 8 + [2, 0, 0, 0, 0, 1, 1]
    assert right.tolist() == [0] * 8 + [1, 0, 0, 0, 0, 1, 0]
    assert confidence[[8, 13, 14]] == pytest.approx([1.14, 0.9, 1])


def test_a_bin_holds_its_upper_end() -> None:
    """Guo et al. 2017: bins are open below and closed above."""
    confidences, hits = np.array([0.6, 0.6, 0.64]), np.array([True, False, True])
    expected = (2 * abs(0.5 - 0.6) + abs(1 - 0.64)) / 3
    assert expected_calibration_error(confidences, hits) == pytest.approx(expected)


def test_certain_and_wrong_is_an_error_of_one() -> None:
    assert expected_calibration_error(np.ones(3), np.zeros(3, bool)) == 1
