"""Successive halving (Jamieson and Talwalkar 2016): which trial to train next, and for how many
epochs.

Each rung is a number of epochs; the best third of the trials at a rung go on to the next. A trial
is promoted as soon as it is among the best third so far (ASHA, Li et al. 2020): the total number of
trials need not be known, and some trials are always far along. The decision depends on the results
alone, so no other state is saved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cmp_to_key
from typing import Generic, Literal, TypeVar

from cnn_cli.arithmetic import ceil_div

REDUCTION = 3  # one of so many trials is promoted; η in the papers
MOST_RUNGS = 4

Score = TypeVar("Score")
Left = Literal["trials", "promotions", "one"]


def rungs(epochs: int) -> tuple[int, ...]:
    """Return the epochs after which trials are compared; the last entry is the whole training."""
    count = 1
    while count < MOST_RUNGS and REDUCTION**count <= epochs:
        count += 1
    return tuple(ceil_div(epochs, REDUCTION**step) for step in reversed(range(count)))


class Halving(Generic[Score]):
    """Decides which trial to promote by the trials' scores.

    Args:
        rungs: number of rungs.
        is_better: whether the first score is better than the second.
    """

    def __init__(self, rungs: int, is_better: Callable[[Score, Score], bool]) -> None:
        self._rungs = rungs
        self._is_better = is_better

    def promotion(self, scores: Sequence[Sequence[Score | None]], left: Left) -> int | None:
        """Return the index of the trial to promote; None to begin a new one, if any are left.

        Args:
            scores: for each trial, its scores at the rungs reached. None for a failure: the trial
                is not promoted, but counts as tried.
            left: whether more trials can begin; or none can, and the best trial of a rung is
                promoted even if there are few; or time is left for that one only.
        """
        for rung in reversed(range(self._rungs - 1)):
            tried = sum(len(own) > rung for own in scores)
            quota = 1 if left == "one" else tried // REDUCTION
            if left == "promotions":
                quota = max(quota, 1)
            # A place that a trial lost by failing later goes to the next best.
            ranking = [i for i in self.ranking(scores, rung) if scores[i][-1] is not None]
            for trial in ranking[:quota]:
                if len(scores[trial]) == rung + 1:
                    return trial
        return None

    def ranking(self, scores: Sequence[Sequence[Score | None]], rung: int) -> list[int]:
        """Return the trials that reached a rung without failing, best first."""

        def compare(one: int, other: int) -> int:
            first, second = scores[one][rung], scores[other][rung]
            if first is None or second is None:
                return 0
            return self._is_better(second, first) - self._is_better(first, second)

        came = [i for i, own in enumerate(scores) if len(own) > rung and own[rung] is not None]
        return sorted(came, key=cmp_to_key(compare))
