"""Frozen dataclasses that are fast to define; modules imported for prediction use only these.

The standard library compiles new methods for each dataclass, in 0.6 ms of the 200 ms in which a
process classifies one image. All `Struct` classes share their methods, at the price of slower
construction.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, ClassVar, NoReturn, TypeVar, dataclass_transform

S = TypeVar("S", bound="Struct")


@dataclass_transform(frozen_default=True)
class Struct:
    """Base class for frozen records with fields written ``name: type`` or ``name: type = default``.

    Structs of one class are equal if their values are equal. A class that holds arrays, which have
    no single equality, is declared with ``eq=False`` and compares by identity.

    Raises:
        TypeError: a value is missing, given twice, or has no such field.
    """

    _defaults: ClassVar[dict[str, Any]] = {}
    __match_args__: ClassVar[tuple[str, ...]] = ()
    _known: ClassVar[frozenset[str]] = frozenset()
    _values: ClassVar[attrgetter[Any]]

    def __init_subclass__(cls, *, eq: bool = True) -> None:
        super().__init_subclass__()
        own, given = cls.__annotations__, vars(cls)
        cls._defaults = cls._defaults | {name: given[name] for name in own if name in given}
        names = dict.fromkeys((*cls.__match_args__, *own))
        cls.__match_args__ = tuple(names)  # type: ignore[misc]  # final, says mypy
        cls._known = frozenset(cls.__match_args__)
        cls._values = attrgetter(*cls.__match_args__)
        if not eq:
            # mypy refuses methods that are assigned, here as Python's own classes have them.
            cls.__eq__ = object.__eq__  # type: ignore[method-assign]
            cls.__hash__ = object.__hash__  # type: ignore[method-assign]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        names, values = self.__match_args__, vars(self)
        values.update(self._defaults)
        values.update(zip(names, args, strict=False))
        values.update(kwargs)
        twice = len(args) > len(names) or not kwargs.keys().isdisjoint(names[: len(args)])
        if twice or values.keys() != self._known:
            raise TypeError(f"{type(self).__name__} takes {', '.join(names)}, each once")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return bool(self._values(self) == other._values(other))

    def __hash__(self) -> int:
        return hash(self._values(self))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in as_dict(self).items())
        return f"{type(self).__qualname__}({values})"


def as_dict(struct: Struct) -> dict[str, Any]:
    """Return the values by name, in the order of the fields; nested structs stay structs."""
    return {name: getattr(struct, name) for name in struct.__match_args__}


def replace(struct: S, **changes: Any) -> S:
    """Return a copy with new values for some fields."""
    return type(struct)(**as_dict(struct) | changes)
