"""Whether all ranks were given the same: they would train together without a word if not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnn_cli.errors import ConfigError, listed
from cnn_cli.parallel.ranks import Ranks

MOST_NAMED = 5


def check_alike(ranks: Ranks, place: str, facts: Mapping[str, Any]) -> None:
    """Compare what the ranks were given with what rank 0 was; all ranks call this.

    Args:
        place: what the error names, as the config's file.
        facts: by names that the error gives; plain values.

    Raises:
        ConfigError: there is a difference; on all ranks the same one.
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
