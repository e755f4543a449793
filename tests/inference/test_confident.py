"""Confident learning, against a slow version in exact fractions, written from the paper."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn_cli.inference.confident import Doubts, calibrated, find_answer_doubts, find_doubts

Table = list[tuple[int, list[int]]]  # label, and integer parts of a total for each class


@st.composite
def tables(draw: st.DrawFn) -> Table:
    classes = draw(st.integers(2, 5))
    parts = st.lists(st.integers(0, 8), min_size=classes, max_size=classes).filter(any)
    rows = st.tuples(st.integers(0, classes - 1), parts)
    return draw(st.lists(rows, min_size=1, max_size=30))


def arrays(table: Table) -> tuple[np.ndarray, np.ndarray]:
    parts = np.array([parts for _, parts in table], np.float64)
    labels = np.array([label for label, _ in table])
    return parts / parts.sum(axis=1, keepdims=True), labels


def slowly(table: Table) -> tuple[dict[int, int], list[list[int]]]:
    """Return what each doubtful image counts as, and the confident joint, image by image."""
    classes = len(table[0][1])
    shares = [[Fraction(part, sum(parts)) for part in parts] for _, parts in table]
    limits: list[Fraction | None] = []
    for j in range(classes):
        own = [share[j] for share, (label, _) in zip(shares, table, strict=True) if label == j]
        limits.append(sum(own, Fraction(0)) / len(own) if own else None)
    doubted: dict[int, int] = {}
    joint = [[0] * classes for _ in range(classes)]
    for row, (share, (label, _)) in enumerate(zip(shares, table, strict=True)):
        able = [j for j, limit in enumerate(limits) if limit is not None and share[j] >= limit]
        if not able:
            continue
        counted = max(able, key=lambda j: (share[j], -j))
        joint[label][counted] += 1
        if counted != label and share[label] < max(share):
            doubted[row] = counted
    return doubted, joint


@given(tables())
def test_the_slow_one_finds_the_same(table: Table) -> None:
    probabilities, labels = arrays(table)
    found = find_doubts(probabilities, labels)
    doubted, joint = slowly(table)
    assert dict(zip(found.rows.tolist(), found.suggested.tolist(), strict=True)) == doubted
    sizes = np.bincount(labels, minlength=probabilities.shape[1])
    np.testing.assert_allclose(found.joint, calibrated(np.array(joint), sizes))


@given(tables())
def test_the_worst_come_first(table: Table) -> None:
    probabilities, labels = arrays(table)
    found = find_doubts(probabilities, labels)
    ranks = [
        (probabilities[row, labels[row]], -probabilities[row, suggested], row)
        for row, suggested in zip(found.rows, found.suggested, strict=True)
    ]
    assert ranks == sorted(ranks)


@given(tables())
def test_the_joint_has_as_many_images_as_each_label(table: Table) -> None:
    probabilities, labels = arrays(table)
    found = find_doubts(probabilities, labels)
    sizes = np.bincount(labels, minlength=probabilities.shape[1])
    np.testing.assert_allclose(found.joint.sum(axis=1), sizes)
    assert -1e-9 <= found.estimated_wrong <= len(labels) + 1e-9


@given(tables())
def test_the_order_of_images_and_classes_has_no_part_in_it(table: Table) -> None:
    probabilities, labels = arrays(table)
    probabilities += np.random.default_rng(0).random(probabilities.shape) / 64  # without ties
    images = np.random.default_rng(1).permutation(len(labels))
    classes = np.random.default_rng(2).permutation(probabilities.shape[1])
    places = np.argsort(classes)
    found = find_doubts(probabilities, labels)
    other = find_doubts(probabilities[images][:, classes], places[labels[images]])
    assert images[other.rows].tolist() == found.rows.tolist()
    assert classes[other.suggested].tolist() == found.suggested.tolist()


def test_right_labels_are_not_doubted() -> None:
    labels = np.arange(12) % 3
    for sure in (0.4, 0.7, 1.0):
        probabilities = np.full((12, 3), (1 - sure) / 2, np.float32)
        probabilities[np.arange(12), labels] = sure
        found = find_doubts(probabilities, labels)
        assert (len(found.rows), found.estimated_wrong) == (0, 0)


def planted() -> Doubts:
    """Two classes with different confidence, and one wrong label in each."""
    first, second = [[0.9, 0.1]] * 4, [[0.4, 0.6]] * 4
    probabilities = np.array([*first, [0.35, 0.65], *second, [0.95, 0.05]], np.float32)
    return find_doubts(probabilities, np.array([0] * 5 + [1] * 5))


def test_planted_labels() -> None:
    found = planted()
    assert found.rows.tolist() == [9, 4]
    assert found.suggested.tolist() == [0, 1]
    assert found.thresholds == pytest.approx([0.79, 0.49])
    assert found.joint == pytest.approx(np.array([[4, 1], [1, 4]]))
    assert found.estimated_wrong == pytest.approx(2)


def test_a_class_without_images_is_never_suggested() -> None:
    probabilities = np.array([[0.1, 0.2, 0.7], [0.2, 0.1, 0.7]])
    found = find_doubts(probabilities, np.array([0, 1]))
    assert found.thresholds.tolist() == [0.1, 0.1, np.inf]
    assert set(found.suggested.tolist()) <= {0, 1}


def test_a_label_of_which_no_image_counts_is_taken_to_be_right() -> None:
    joint = calibrated(np.array([[0, 0], [1, 3]]), np.array([5, 8]))
    assert joint.tolist() == [[5, 0], [2, 6]]


def test_each_label_is_a_question_of_its_own() -> None:
    rng = np.random.default_rng(0)
    p, labels = rng.random((60, 3)), rng.integers(0, 2, (60, 3)).astype(np.uint8)
    found = find_answer_doubts(p, labels)
    alone = [find_doubts(np.stack([1 - p[:, j], p[:, j]], 1), labels[:, j]) for j in range(3)]
    for j, own in enumerate(alone):
        assert np.flatnonzero(found.wrong[:, j]).tolist() == sorted(own.rows.tolist()) != []
        assert found.thresholds[j] == pytest.approx(p[labels[:, j] == 1, j].mean())
    assert found.estimated_wrong == pytest.approx(sum(own.estimated_wrong for own in alone))
    given_answers = np.where(labels == 1, p, 1 - p)
    least = {
        row: min((given_answers[row, j], j) for j in range(3) if found.wrong[row, j])
        for row in range(60)
        if found.wrong[row].any()
    }
    assert found.rows.tolist() == sorted(least, key=lambda row: least[row])
    for row, (probability, number) in least.items():
        assert found.worst(row) == number
        assert found.own[row, number] == probability
