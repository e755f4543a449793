"""Which trial is promoted, given the scores of all."""

from __future__ import annotations

import operator

import numpy as np
import pytest

from cnn_cli.training.halving import MOST_RUNGS, Halving, Left, rungs

Scores = list[list[float | None]]


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (1, (1,)),
        (2, (2,)),
        (3, (1, 3)),
        (4, (2, 4)),
        (9, (1, 3, 9)),
        (10, (2, 4, 10)),
        (12, (2, 4, 12)),
        (27, (1, 3, 9, 27)),
        (300, (12, 34, 100, 300)),
    ],
)
def test_rungs_are_thirds_of_the_epochs(epochs: int, expected: tuple[int, ...]) -> None:
    assert rungs(epochs) == expected


def test_rungs_rise() -> None:
    for epochs in range(1, 400):
        found = rungs(epochs)
        assert found[-1] == epochs
        assert 1 <= len(found) <= MOST_RUNGS
        assert list(found) == sorted(set(found))


def halving(count: int = 3) -> Halving[float]:
    return Halving(count, operator.gt)


@pytest.mark.parametrize(
    ("scores", "left", "expected"),
    [
        ([], "trials", None),
        ([], "promotions", None),
        ([[0.5], [0.4]], "trials", None),
        ([[0.5], [0.4]], "promotions", 0),
        ([[0.5], [0.4], [0.6]], "trials", 2),
        ([[0.5], [0.4], [0.6, 0.7]], "trials", None),
        ([[0.5], [0.4], [0.6, 0.7]], "promotions", 2),
        ([[0.5], [0.4], [0.6, 0.7, 0.8]], "promotions", None),
        ([[0.5], [0.4], [0.6, 0.7]], "one", 2),
        # Ties go to the first.
        ([[0.5], [0.5], [0.5]], "trials", 0),
        # A failed trial is not promoted, and counts as tried.
        ([[0.5], [None], [None]], "trials", 0),
        ([[None], [None], [None]], "promotions", None),
        # If it fails after its promotion, the next best takes its place.
        ([[0.5, None], [0.4], [0.3]], "trials", 1),
        ([[0.5, None], [0.4], [0.3]], "promotions", 1),
        ([[0.5, None], [0.4], [0.3]], "one", 1),
        ([[0.5, None], [0.4, None], [0.3, None]], "promotions", None),
        ([[0.9, None], [0.8], [0.1], [0.2], [0.3], [0.4]], "trials", 1),
        # The higher rung first.
        ([[0.9, 0.5], [0.8, 0.6], [0.7, 0.4], *[[0.1]] * 9], "trials", 1),
    ],
)
def test_who_goes_on(scores: Scores, left: Left, expected: int | None) -> None:
    assert halving().promotion(scores, left) == expected


def run_all(values: list[list[float]], count: int) -> tuple[Scores, list[int]]:
    """Train all trials as the search decides; return the scores, and the order of the trainings."""
    search, scores, order = halving(count), list[list[float | None]](), list[int]()
    while True:
        left: Left = "trials" if len(scores) < len(values) else "promotions"
        chosen = search.promotion(scores, left)
        if chosen is None and left == "promotions":
            return scores, order
        if chosen is None:
            chosen = len(scores)
            scores.append([])
        scores[chosen].append(values[chosen][len(scores[chosen])])
        order.append(chosen)


def test_with_values_that_keep_their_order_the_best_one_comes_to_the_end() -> None:
    rng = np.random.default_rng(0)
    for number in (1, 2, 5, 9, 27, 40):
        values = [[value] * 3 for value in rng.permutation(number).tolist()]
        scores, _ = run_all(values, 3)
        best = max(range(number), key=lambda i: values[i][0])
        assert len(scores[best]) == 3
        assert halving().ranking(scores, 2)[0] == best
        assert all(scores), "each was begun"
        counts = [sum(len(own) > rung for own in scores) for rung in range(3)]
        assert counts[0] == number
        # Not many more than a third, although later trials overtake early promotions.
        assert number // 3 <= counts[1] <= number // 3 + number**0.5 + 1


def test_what_comes_next_follows_from_the_scores_alone() -> None:
    """As when a search is resumed after any training."""
    rng = np.random.default_rng(1)
    values = rng.random((20, 3)).tolist()
    whole, order = run_all(values, 3)
    scores: Scores = []
    for trial in order:
        left: Left = "trials" if len(scores) < len(values) else "promotions"
        chosen = Halving[float](3, operator.gt).promotion([list(own) for own in scores], left)
        assert trial == (len(scores) if chosen is None else chosen)
        if chosen is None:
            scores.append([])
        scores[trial].append(values[trial][len(scores[trial])])
    assert scores == whole
