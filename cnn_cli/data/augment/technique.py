"""What a technique is: how the config's section `augment` writes it, and what it adds to a plan.

A technique is written with its arguments, ``pad_crop: {padding: 4, padding_mode: reflect}``, with
its first one alone, ``pad_crop: 4``, or as ``true`` where every argument has a default. What is
left out, ``false`` or null is off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, model_validator

from cnn_cli.data.augment.draws import Indices
from cnn_cli.data.decode import Preprocess
from cnn_cli.data.depth import Depth, Pixels
from cnn_cli.schema.fields import Above0, Also, Frozen, Must, PartAbove0, broken

Value = TypeVar("Value")
Numbers = NDArray[np.float64]


class Step(Protocol):
    """Changes a batch of images in place."""

    def __call__(self, images: Pixels, indices: Indices, epoch: int) -> None:
        """Change images.

        Args:
            images: (n, height, width, channels), contiguous; written.
            indices: (n,) their positions in the split.
            epoch: counted from 0.
        """


class SharedStep(Step, Protocol):
    """A step that several techniques share, and that each of them adds its part to."""

    def __init__(self, seed: int, edge: Numbers) -> None: ...


class Crop(Protocol):
    """Makes the image that the network takes of the larger one that the cache keeps.

    Attributes:
        shape: height, width and channels of what it makes.
    """

    shape: tuple[int, int, int]

    def __call__(self, kept: Pixels, aspect: float, index: int, epoch: int) -> Pixels:
        """One image; as `RandomResizedCrop` has it."""


Shared = TypeVar("Shared", bound=SharedStep)


class Plan:
    """An augmentation in the making: each technique that is on adds to it, in their order.

    Args:
        seed: `train.seed`.
        pre: what is made of every image.
        mean: of each channel, as of `Normalization`.

    Attributes:
        steps: what is done to a batch, in this order.
        crop: what is done to each image before; None without.
        edge: (channels,) what comes in where an image ends: black; where numbers have no full scale
            and thus no black, the mean.
    """

    def __init__(self, seed: int, pre: Preprocess, mean: tuple[float, ...]) -> None:
        self.seed = seed
        self.pre = pre
        self.mean = mean
        self.steps: list[Step] = []
        self.crop: Crop | None = None
        self.edge = np.zeros(pre.channels) if pre.depth != "float" else np.array(mean)

    def shared(self, kind: type[Shared]) -> Shared:
        """The plan's one step of a kind; it takes its place when the first technique asks."""
        for step in self.steps:
            if isinstance(step, kind):
                return step
        made = kind(self.seed, self.edge)
        self.steps.append(made)
        return made


@dataclass(frozen=True, slots=True)
class OfColours:
    """Stands beside the type of a key: the technique is defined for grey and colour of 8 bits."""


@dataclass(frozen=True, slots=True)
class Adds(Generic[Value]):
    """Registers a technique: stands beside the type of its key in the section.

    Attributes:
        to: adds to a plan what the key's value asks for; not called where the technique is off.
    """

    to: Callable[[Plan, Value], None]


class TechniqueConfig(Frozen):
    """A technique with arguments."""

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, value: Any) -> Any:
        """Turn the ways of writing it into a mapping of arguments."""
        if value is True:
            return {}
        return value if isinstance(value, dict | cls) else cls.from_lone(value)

    @classmethod
    def from_lone(cls, value: Any) -> dict[str, Any]:
        """The arguments that a lone value stands for: the first one."""
        return {next(iter(cls.model_fields)): value}

    @classmethod
    def also_written(cls, schema: dict[str, Any]) -> list[dict[str, Any]]:
        lone = schema["properties"][next(iter(cls.model_fields))]
        return [lone] if schema.get("required") else [lone, {"const": True}]

    def misfit(self, image_size: tuple[int, int], channels: int, depth: Depth) -> str | None:
        """The rule that such images break; None where they fit."""
        return None


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise broken("must be two numbers, the smaller one first")
    return pair


def _never(value: Any) -> Any:
    """`false` turns a technique off."""
    return None if value is False else value


NEVER = Also(_never, lambda _: {"const": False})

Scale = Annotated[
    tuple[PartAbove0, PartAbove0],
    AfterValidator(_ordered),
    Must("two numbers above 0, up to 1, the smaller one first"),
]
Ratio = Annotated[
    tuple[Above0, Above0],
    AfterValidator(_ordered),
    Must("two numbers above 0, the smaller one first"),
]
