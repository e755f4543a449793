"""What every layer is: arithmetic on one chunk, on one thread, with nothing remembered.

Activations are NHWC, shape (n, h, w, c), or (n, features); shapes of one image leave out n.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from math import prod
from typing import Any, ClassVar, Final, Literal, Protocol, get_type_hints

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.types import Array, Arrays, Saved, Shape
from cnn_cli.schema.constraints import is_constrained
from cnn_cli.structs import Struct


class ParamSpec(Struct):
    """A trained array of a layer.

    Attributes:
        name: PyTorch's name for it: `weight` or `bias`.
        shape: in the layer's own layout, which suits the kernels.
        role: `weight` is initialized at random, `scale` with `value`, `shift` with zeros, `slope`
            with a quarter, `bias` as PyTorch does, uniform within 1/sqrt(fan_in).
        fan_in: inputs that one output sums over.
        to_torch: axes that transpose the own layout to PyTorch's.
        init: how it starts instead: `dirac` or `whitening`, see `nn.init`.
        init_eps: of `whitening`.
        value: what a `scale` starts as.
    """

    name: str
    shape: Shape
    role: Literal["weight", "bias", "scale", "shift", "slope"]
    fan_in: int = 1
    to_torch: tuple[int, ...] | None = None
    init: Literal["dirac", "whitening"] | None = None
    init_eps: float = 0.0
    value: float = 1.0

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def torch_shape(self) -> Shape:
        if self.to_torch is None:
            return self.shape
        return tuple(self.shape[axis] for axis in self.to_torch)


class BufferSpec(Struct):
    """An array a layer keeps that is not trained, such as a running mean."""

    name: str
    shape: Shape
    initial: float


class ShapeError(ValueError):
    """A layer that cannot take its input; the graph adds the layer's name and the shapes."""


Attribute = int | float | str | tuple[int, ...]


class Operators(Protocol):
    """A network of ONNX operators that grows: images are (n, c, h, w), tensors have names."""

    def add(
        self, operator: str, inputs: Sequence[str], output: str, **attributes: Attribute
    ) -> str:
        """Append an operator; the name of its output."""

    def constant(self, name: str, values: Array | list[int]) -> str:
        """Keep an array under a name; that name. Whole numbers are shapes, all others float32."""


REGISTERED: dict[str, type[Layer]] = {}
BLOCKS: dict[str, type[Block]] = {}
"""Classes by kind, as far as their modules have been imported; see `cnn_cli.nn.layers`."""


class Argument(Struct):
    """What a config can say of a layer.

    Attributes:
        type: annotated with what its values may be, see `schema.constraints`.
        default: `REQUIRED` where there is none.
    """

    type: Any
    default: Any


REQUIRED: Final = inspect.Parameter.empty


class Written:
    """What a config can write: a layer, or several of them written as one.

    Its arguments are those of `__init__` that are annotated with a constraint; names, types,
    defaults and texts are read from there and from the docstring.

    Attributes:
        kind: the name in the config.
        listed: where lists of layers have it, the smallest number first; 0 for a layer that a
            config cannot name.
    """

    kind: ClassVar[str] = ""
    listed: ClassVar[int] = 0

    @classmethod
    @cache
    def arguments(cls) -> Mapping[str, Argument]:
        """What a config can say, by name, in the order of the signature."""
        hints = get_type_hints(cls.__init__, include_extras=True)
        parameters = inspect.signature(cls.__init__).parameters.values()
        return {
            each.name: Argument(hints[each.name], each.default)
            for each in parameters
            if each.kind is each.KEYWORD_ONLY and is_constrained(hints[each.name])
        }

    @classmethod
    def complete(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Fill in what follows from other arguments.

        Raises:
            ShapeError: they do not go together, whatever the input.
        """
        return dict(arguments)


class Layer(Written):
    """One node's arithmetic. Subclasses set the attributes in `__init__` and never after.

    A class that states its `kind` is registered under it.

    Attributes:
        onnx: the operator of ONNX that is the same without attributes, or an empty text; then
            `to_onnx` says more.
        in_shape, out_shape: of one image.
        params, buffers: what it owns; the arrays themselves come with the node's context.
        saves_input, saves_output: what `backward` reads of them, so that the engine knows
            which arrays must live on.
        can_write_input: the output may be written over the (first) input, `node.inplace`.
        is_view: the output shares the input's memory.
        takes_tuple: it has several inputs.
        muladds: multiply-adds for one image, as `cnn summary` counts them.
        path: how it is computed, where there are several ways.
        prepared: shape of what `prepare` makes of the parameters, such as transformed weights.
        prepared_grad: shape of the gradients that `backward` adds up instead of the parameters'.
    """

    onnx: ClassVar[str] = ""
    saves_input: ClassVar[bool] = False
    saves_output: ClassVar[bool] = False
    can_write_input: ClassVar[bool] = False
    is_view: ClassVar[bool] = False
    takes_tuple: ClassVar[bool] = False

    in_shape: Shape
    out_shape: Shape
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[BufferSpec, ...] = ()
    muladds: int = 0
    path: str | None = None
    prepared: Shape | None = None
    prepared_grad: Shape | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        kind = vars(cls).get("kind")  # subclasses that only inherit it are not registered
        if not kind:
            return
        if kind in REGISTERED:
            raise TypeError(f"two layers of the kind {kind!r}")
        REGISTERED[kind] = cls

    def __init__(self, in_shape: Any, **arguments: Any) -> None:
        raise NotImplementedError

    def prepare(self, params: Mapping[str, Array], out: Array) -> None:
        """Write into `out`, of shape `prepared`, what every chunk of a step needs alike."""
        raise NotImplementedError

    def collect(self, prepared_grad: Array, grads: Mapping[str, Array]) -> None:
        """Write the parameters' gradients from `prepared_grad`, summed over the chunks."""
        raise NotImplementedError

    def forward(self, x: Any, node: NodeContext, run: RunContext) -> tuple[Array, Saved]:
        """Return the output and whatever `backward` needs.

        `x` is (n, *in_shape), or a tuple of arrays for a layer with several inputs. The output
        and the saved arrays come from `run.take` (or are `x` itself, or views of it); `x` is
        left as it is unless `node.inplace`.
        """
        raise NotImplementedError

    def backward(
        self, dy: Array, saved: Any, node: NodeContext, run: RunContext
    ) -> Array | Arrays | None:
        """Return the gradient of the input (a tuple for several inputs), or None without need.

        `saved` is what `forward` returned. Adds to `node.grads` through `node.add_product` and
        `node.add_row_sum`. `dy`, (n, *out_shape) and contiguous, is the layer's own: it may be
        overwritten, and returned.
        """
        raise NotImplementedError

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        """Add the operators that this layer is in ONNX, at prediction.

        Args:
            inputs: names of the tensors it reads.
            name: of its output, and the first part of other names it gives.
            arrays: parameters and buffers by name, in PyTorch's layouts.
            operators: what it is added to.

        Returns:
            The name of its output.
        """
        return operators.add(self.onnx, inputs, name)


def shape_text(shape: Shape) -> str:
    """`28x28x16`: height, width, channels."""
    return "x".join(map(str, shape))


class Part(Struct):
    """One layer of a block: its name within it, its kind, and its arguments."""

    name: str
    kind: str
    arguments: Mapping[str, Any]


class Block(Written):
    """Several layers written as one: a chain, whose end is joined with the block's input.

    Attributes:
        joins: the kind of the layer that reads the block's input and the chain's end.
        parts: of the chain.
    """

    joins: ClassVar[str]
    parts: tuple[Part, ...]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        BLOCKS[cls.kind] = cls

    def __init__(self, in_shape: Any, **arguments: Any) -> None:
        raise NotImplementedError
