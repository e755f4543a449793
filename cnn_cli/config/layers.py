"""The layers of a config, each with a model of its arguments.

A layer is written as ``relu``, as ``conv: {out_channels: 8, kernel_size: 3}`` or, if one value is
enough, as ``maxpool: 2``: a single value is the first argument. Most layers are defined in
`nn.layers`, in their own files; this module defines those that contain other layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import Discriminator, Field, Tag

from cnn_cli.config.layer_model import LayerConfig, LayerName, layer_model
from cnn_cli.nn.layers import all_written
from cnn_cli.schema.fields import Must, ShareBelow1

MOST_REPEATS = 1000


class ResidualConfig(LayerConfig):
    """Add the output of some layers and a shortcut (He et al. 2015), with no activation after
    it.

    Attributes:
        layers: layers of the residual branch.
        shortcut: layers of the shortcut. By default it is the identity or, if the branch changes
            the shape, a 1×1 convolution and a batchnorm (He et al. 2015, option B).
        drop_path: stochastic depth (Huang et al. 2016): in training, an image skips the branch
            with this probability; else its output is scaled by 1 / (1 - drop_path), as in timm.
    """

    kind = "residual"
    layers: Annotated[tuple[AnyLayer, ...], Field(min_length=1)]
    shortcut: tuple[AnyLayer, ...] | None = None
    drop_path: ShareBelow1 = 0.0


class BranchesConfig(LayerConfig):
    """Several lists of layers in parallel, whose outputs are combined.

    Attributes:
        branches: the lists.
        combine: `concat` joins the channels; `sum` adds; `product` multiplies, and a branch may
            be a gate: one number per channel, or a map with one row and column, or with one
            channel, which is broadcast.
    """

    kind = "branches"
    branches: Annotated[tuple[tuple[AnyLayer, ...], ...], Field(min_length=1)]
    combine: Annotated[Literal["concat", "sum", "product"], Must("concat, sum or product")] = (
        "concat"
    )


class SplitConfig(LayerConfig):
    """Like branches, but each list reads its own part of the channels.

    Attributes:
        branches: the lists; the channels are split into as many equal parts.
    """

    kind = "split"
    branches: Annotated[tuple[tuple[AnyLayer, ...], ...], Field(min_length=2)]


class FromConfig(LayerConfig):
    """The output of an earlier layer, as input for the layers after this one.

    Within a `repeat`, a name refers to the same copy; `NAME.0` refers to the first one.

    Attributes:
        layer: name of an earlier layer, or its place, such as `layers.3`.
    """

    kind = "from"
    layer: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$"), Must("the name of a layer")]


class RepeatConfig(LayerConfig):
    """Several copies of some layers, each with its own weights.

    Attributes:
        times: number of copies.
        layers: the layers to copy.
        index: a name for the number of the copy, from 0, in templates; the copies are then part
            of the list as if written there.
    """

    kind = "repeat"
    left_out = ("name", "index")  # after reading, the config contains the copies themselves
    times: Annotated[
        int,
        Field(strict=True, gt=0, le=MOST_REPEATS),
        Must(f"a whole number from 1 to {MOST_REPEATS}"),
    ]
    layers: Annotated[tuple[AnyLayer, ...], Field(min_length=1)]
    index: LayerName | None = None


CONTAINERS = (ResidualConfig, BranchesConfig, SplitConfig, FromConfig, RepeatConfig)
LAYER_KINDS: dict[str, type[LayerConfig]] = {
    **{kind: layer_model(written) for kind, written in all_written().items()},
    **{model.kind: model for model in CONTAINERS},
}


def _kind_of(value: Any) -> str | None:
    if isinstance(value, LayerConfig):
        return value.kind
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value))
    return value if isinstance(value, str) else None


if TYPE_CHECKING:
    AnyLayer = LayerConfig
else:
    _models = tuple(Annotated[model, Tag(kind)] for kind, model in LAYER_KINDS.items())
    AnyLayer = Annotated[Union[_models], Discriminator(_kind_of)]  # noqa: UP007 - of a tuple

for _model in CONTAINERS:
    _model.model_rebuild()
