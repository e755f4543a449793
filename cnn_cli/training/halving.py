"""Successive halving (Jamieson and Talwalkar 2016): which trial is trained on, and how far.

Each rung is some epochs of the whole training; the best third of the trials that came to one goes
on to the next. Trials are promoted as soon as they are among the best third so far (ASHA, Li et
al. 2020): how many there will be need not be known, and at any time some have come far.
What comes next depends on the results alone, so that there is nothing else to save.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cmp_to_key
from typing import Generic, Literal, TypeVar

REDUCTION = 3  # of the trials from rung to rung; η in the papers
MOST_RUNGS = 4

Score = TypeVar("Score")
Left = Literal["trials", "promotions", "one"]


def rungs(epochs: int) -> tuple[int, ...]:
    """Epochs after which trials are compared; the last ones are all of them."""
    count = 1
    while count < MOST_RUNGS and REDUCTION**count <= epochs:
        count += 1
    return tuple(-(-epochs // REDUCTION**step) for step in reversed(range(count)))


class Halving(Generic[Score]):
    """Decides by the scores of the trials.

    Args:
        rungs: how many there are.
        is_better: whether the first score is better than the second one.
    """

    def __init__(self, rungs: int, is_better: Callable[[Score, Score], bool]) -> None:
        self._rungs = rungs
        self._is_better = is_better

    def promotion(self, scores: Sequence[Sequence[Score | None]], left: Left) -> int | None:
        """The trial that goes on to its next rung; None where a new one is to begin, if any.

        Args:
            scores: of each trial, at the rungs that it came to. None where it failed there: it
                goes no further, and counts as one that was tried.
            left: there are more trials to begin; or the best trial of a rung goes on, however few
                there are; or there is only time for that one.
        """
        for rung in reversed(range(self._rungs - 1)):
            tried = sum(len(own) > rung for own in scores)
            quota = 1 if left == "one" else tried // REDUCTION
            if left == "promotions":
                quota = max(quota, 1)
            for trial in self.ranking(scores, rung)[:quota]:
                if len(scores[trial]) == rung + 1:
                    return trial
        return None

    def ranking(self, scores: Sequence[Sequence[Score | None]], rung: int) -> list[int]:
        """The trials that came to a rung and did not fail there, the best one first."""

        def compare(one: int, other: int) -> int:
            first, second = scores[one][rung], scores[other][rung]
            if first is None or second is None:
                return 0
            return self._is_better(second, first) - self._is_better(first, second)

        came = [i for i, own in enumerate(scores) if len(own) > rung and own[rung] is not None]
        return sorted(came, key=cmp_to_key(compare))
