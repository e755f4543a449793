"""The layers a network is written in, each with a model of its arguments.

A layer is written as ``relu``, ``conv: {out_channels: 8, kernel_size: 3}`` or, where one value is
enough, ``maxpool: 2``: a lone value is the first argument. What a layer takes stands in its own
file, in `nn.layers`; here are those that hold other layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import Discriminator, Field, Tag

from cnn_cli.config.layer import LayerConfig, LayerName, layer_model
from cnn_cli.nn.layers import all_written
from cnn_cli.schema.fields import Must, ShareBelow1


class ResidualConfig(LayerConfig):
    """The sum of some layers' output and a shortcut (He et al. 2015), nothing after it.

    Attributes:
        layers: what the shortcut goes past.
        shortcut: layers that the input goes through before it is added; by default none.
        drop_path: stochastic depth: with this probability the layers of an image count nothing in
            training (Huang et al. 2016); else they count 1 / (1 - drop_path) times, as in timm.
    """

    kind = "residual"
    layers: Annotated[tuple[AnyLayer, ...], Field(min_length=1)]
    shortcut: tuple[AnyLayer, ...] | None = None
    drop_path: ShareBelow1 = 0.0


class BranchesConfig(LayerConfig):
    """Several lists of layers side by side, whose outputs are combined.

    Attributes:
        branches: the lists.
        combine: `concat`: one behind the other along the channels; `sum`; or `product`, in which a
            branch may be a gate: a vector of a number a channel, or a map with one row and column,
            or with one channel, that counts for all.
    """

    kind = "branches"
    branches: Annotated[tuple[tuple[AnyLayer, ...], ...], Field(min_length=1)]
    combine: Annotated[Literal["concat", "sum", "product"], Must("concat, sum or product")] = (
        "concat"
    )


class SplitConfig(LayerConfig):
    """Like branches, but each of the lists sees its own part of the channels.

    Attributes:
        branches: the lists; the channels are cut into as many equal parts.
    """

    kind = "split"
    branches: Annotated[tuple[tuple[AnyLayer, ...], ...], Field(min_length=2)]


class FromConfig(LayerConfig):
    """The output of an earlier layer: what stands behind it reads that, not what stands before it.

    In a repeat a name is that of the same copy; `NAME.0` is that of the first one.

    Attributes:
        layer: name of a layer that stands before this one, or its place, `layers.3`.
    """

    kind = "from"
    layer: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$"), Must("the name of a layer")]


class RepeatConfig(LayerConfig):
    """Some layers several times over, each copy with weights of its own.

    Attributes:
        times: number of copies.
        layers: what is copied.
        index: a name for the number of the copy, from 0, in templates; then copies stand in the
            list as if they were written there.
    """

    kind = "repeat"
    left_out = ("name", "index")  # a config that was read has the copies themselves
    times: Annotated[int, Field(strict=True, gt=0, le=1000), Must("a whole number from 1 to 1000")]
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
