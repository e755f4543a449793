"""Where the layers of a network that was written out stand in the config."""

from __future__ import annotations

from collections.abc import Mapping


class Places:
    """Written places by places in the network written out, both as `model.layers[7]`.

    Any two are equal, so that configs are compared by their values.

    Args:
        known: for a layer's place the one where it is written, and behind it those of the calls
            that it came by, the innermost first. A layer that is not here stands where it is.
    """

    def __init__(self, known: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._known = dict(known or {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Places)

    __hash__ = None  # type: ignore[assignment]  # nobody keeps them in a set

    def written(self, place: str) -> str:
        """Of `model.layers[7].conv` as `model.define.cb[0].conv, in model.layers[3].cb`."""
        end = len(place)
        while end > 0:
            if place[:end] in self._known:
                written, *uses = self._known[place[:end]]
                return ", in ".join((written + place[end:], *uses))
            end = max(place.rfind(".", 0, end), place.rfind("[", 0, end))
        return place
