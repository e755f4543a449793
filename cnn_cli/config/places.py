"""Where the layers of an expanded network are written in the config."""

from __future__ import annotations

from collections.abc import Mapping


class Places:
    """Maps places in the expanded network to places in the config, both like `model.layers[7]`.

    All instances are equal, so that configs are compared by their values.

    Args:
        known: for a layer's place, the place where it is written, followed by those of the calls
            that produced it, innermost first. Other layers are written where they are.
    """

    def __init__(self, known: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._known = dict(known or {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Places)

    __hash__ = None  # type: ignore[assignment]  # nobody keeps them in a set

    def written(self, place: str) -> str:
        """Return `model.define.cb[0].conv, in model.layers[3].cb` for `model.layers[7].conv`."""
        end = len(place)
        while end > 0:
            if place[:end] in self._known:
                written, *uses = self._known[place[:end]]
                return ", in ".join((written + place[end:], *uses))
            end = max(place.rfind(".", 0, end), place.rfind("[", 0, end))
        return place
