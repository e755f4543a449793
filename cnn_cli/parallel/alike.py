"""Check that all ranks were started alike: otherwise they would train together silently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnn_cli.errors import ConfigError, listed
from cnn_cli.parallel.ranks import Ranks

MOST_NAMED = 5


def check_alike(ranks: Ranks, place: str, facts: Mapping[str, Any]) -> None:
    """Compare the settings of all ranks with those of rank 0; all ranks call this.

    Args:
        ranks: the ranks.
        place: what the error names, such as the config's file.
        facts: plain values by name, which the error names.

    Raises:
        ConfigError: there is a difference; the same error on all ranks.
    """
    if ranks.size == 1:
        return
    own = dict(facts)
    every = ranks.bring(own)
    first, *others = ranks.first(lambda: every)
    for rank, other in enumerate(others, start=1):
        keys = [key for key in first | other if first.get(key) != other.get(key)]
        if keys:
            rule = "all processes that mpiexec starts must be given the same"
            raise ConfigError(place, rule, f"another {listed(keys, MOST_NAMED)} on rank {rank}")
