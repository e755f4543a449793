"""What a technique consists of: its form in the config, and what it adds to a plan.

A technique is written with its arguments, ``pad_crop: {padding: 4, padding_mode: reflect}``, with
its first argument alone, ``pad_crop: 4``, or as ``true`` if every argument has a default. If
omitted, ``false`` or null it is off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, model_validator

from cnn_cli.data.dataset import Indices
from cnn_cli.data.depth import Depth, Pixels
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.schema.fields import Above0, Also, Frozen, Must, PartAbove0, broken

Value = TypeVar("Value")
Numbers = NDArray[np.float64]


class Step(Protocol):
    """Changes a batch of images in place."""

    def __call__(self, images: Pixels, indices: Indices, epoch: int) -> None:
        """Augment images.

        Args:
            images: (n, height, width, channels), contiguous; changed in place.
            indices: (n,) their positions in the split.
            epoch: counted from 0.
        """


class SharedStep(Step, Protocol):
    """A step that several techniques share; each adds its part to it."""

    def __init__(self, seed: int, edge: Numbers) -> None: ...


class Crop(Protocol):
    """Cuts the network's input out of the larger cached image.

    Attributes:
        shape: height, width and channels of the result.
    """

    shape: tuple[int, int, int]

    def __call__(
        self, kept: Pixels, aspect: float, index: int, epoch: int, out: Pixels, *, mirror: bool
    ) -> None:
        """Crop one image, as `RandomResizedCrop` does."""


class Mirror(Protocol):
    """Chooses the images that are mirrored left to right while they are cropped."""

    def __call__(self, indices: Indices, epoch: int) -> NDArray[np.bool_]:
        """Return (indices,) booleans."""


class Resample(Protocol):
    """Resizes a part of an image in one pass, to the bits of Pillow's `resize`."""

    def __call__(
        self,
        x: Pixels,
        box: tuple[int, int, int, int],
        out: Pixels,
        *,
        mirror: bool,
        rows_first: bool,
    ) -> None:
        """Write the part (top, left, rows, columns) of x to out, both (height, width, 3) bytes.

        Args:
            x: the image.
            box: the part.
            out: written.
            mirror: from right to left.
            rows_first: resample along the rows before the columns.
        """


Shared = TypeVar("Shared", bound=SharedStep)


class Plan:
    """An augmentation under construction: each technique that is on adds to it, in order.

    Args:
        seed: `train.seed`.
        pre: the preprocessing of every image.
        mean: mean of each channel, as in `Normalization`.
        resample: compiled, or None to resize with Pillow.

    Attributes:
        steps: the steps applied to a batch, in order.
        crop: applied to each image before the steps, or None.
        mirror: chooses the images that the crop mirrors, or None.
        edge: (channels,) the fill beyond an image's edges: black, or the mean if pixels have no
            full scale and therefore no black.
    """

    def __init__(
        self,
        seed: int,
        pre: Preprocess,
        mean: tuple[float, ...],
        resample: Resample | None = None,
    ) -> None:
        self.seed = seed
        self.pre = pre
        self.mean = mean
        self.steps: list[Step] = []
        self.resample = resample
        self.crop: Crop | None = None
        self.mirror: Mirror | None = None
        self.edge = np.zeros(pre.channels) if pre.depth != "float" else np.array(mean)

    def shared(self, kind: type[Shared]) -> Shared:
        """Return the plan's only step of a kind; its place is that of the first technique that asks
        for it.
        """
        for step in self.steps:
            if isinstance(step, kind):
                return step
        made = kind(self.seed, self.edge)
        self.steps.append(made)
        return made


@dataclass(frozen=True, slots=True)
class OfColors:
    """Annotates a key's type: the technique is defined for 8-bit gray and color only."""


@dataclass(frozen=True, slots=True)
class Adds(Generic[Value]):
    """Annotates a key's type to register a technique.

    Attributes:
        to: adds what the key's value asks for to a plan; not called if the technique is off.
    """

    to: Callable[[Plan, Value], None]


class TechniqueConfig(Frozen):
    """Base class for techniques with arguments."""

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, value: Any) -> Any:
        """Convert each form of a technique to a mapping of arguments."""
        if value is True:
            return {}
        return value if isinstance(value, dict | cls) else cls.from_lone(value)

    @classmethod
    def from_lone(cls, value: Any) -> dict[str, Any]:
        """Return the arguments for a single value: by default, the first argument."""
        return {next(iter(cls.model_fields)): value}

    @classmethod
    def also_written(cls, schema: dict[str, Any]) -> list[dict[str, Any]]:
        lone = schema["properties"][next(iter(cls.model_fields))]
        return [lone] if schema.get("required") else [lone, {"const": True}]

    def misfit(self, image_size: tuple[int, int], channels: int, depth: Depth) -> str | None:
        """Return the rule that such images break, or None."""
        return None


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise broken("must be two numbers, the smaller one first")
    return pair


def _never(value: Any) -> Any:
    """Replace `false` by None, which turns a technique off."""
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
