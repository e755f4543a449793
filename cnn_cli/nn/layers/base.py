"""The base class of layers: arithmetic on one chunk, on one thread, without state.

Activations are NHWC, shape (n, h, w, c), or (n, features); shapes of one image omit n.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from math import prod
from typing import Any, ClassVar, Final, Literal, Protocol, get_type_hints

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.kernels.paths import Backend
from cnn_cli.nn.types import Array, Arrays, Saved, Shape
from cnn_cli.schema.constraints import is_constrained
from cnn_cli.structs import Struct


class ParamSpec(Struct):
    """A trained array of a layer.

    Attributes:
        name: PyTorch's name for it: `weight` or `bias`.
        shape: in the layer's own layout, which suits the kernels.
        role: `weight` is initialized at random, `scale` with `value`, `shift` with zeros, `slope`
            with 1/4, `bias` as in PyTorch, uniform within 1/sqrt(fan_in).
        fan_in: number of inputs summed for one output.
        to_torch: axes that transpose the layer's layout to PyTorch's.
        init: another initialization: `dirac` or `whitening`, see `nn.init`.
        init_eps: the eps of `whitening`.
        value: initial value of a `scale`.
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
    """An array of a layer that is not trained, such as a running mean."""

    name: str
    shape: Shape
    initial: float


class ShapeError(ValueError):
    """A layer that does not fit its input; the graph adds the layer's name and the shapes."""


Attribute = int | float | str | tuple[int, ...]


class Operators(Protocol):
    """A graph of ONNX operators under construction: images are (n, c, h, w), tensors have names."""

    def add(
        self, operator: str, inputs: Sequence[str], output: str, **attributes: Attribute
    ) -> str:
        """Append an operator; return the name of its output."""

    def constant(self, name: str, values: Array | list[int]) -> str:
        """Store an array under a name; return the name. Integers are shapes, everything else is
        float32.
        """


REGISTERED: dict[str, type[Layer]] = {}
BLOCKS: dict[str, type[Block]] = {}
"""Classes by kind, for imported modules; see `cnn_cli.nn.layers`."""


class Argument(Struct):
    """An argument of a layer in a config.

    Attributes:
        type: annotated with its constraints, see `schema.constraints`.
        default: `REQUIRED` if there is none.
    """

    type: Any
    default: Any


REQUIRED: Final = inspect.Parameter.empty


class Written:
    """An entry of a config's list of layers: one layer, or several layers written as one.

    Its arguments are those of `__init__` that are annotated with a constraint; names, types,
    defaults and descriptions come from there and from the docstring.

    Attributes:
        kind: the name in the config.
        listed: position in lists of layers, smallest first; 0 for a layer that configs cannot name.
    """

    kind: ClassVar[str] = ""
    listed: ClassVar[int] = 0

    @classmethod
    @cache
    def arguments(cls) -> Mapping[str, Argument]:
        """Return the arguments in a config, by name, in the order of the signature."""
        hints = get_type_hints(cls.__init__, include_extras=True)
        parameters = inspect.signature(cls.__init__).parameters.values()
        return {
            each.name: Argument(hints[each.name], each.default)
            for each in parameters
            if each.kind is each.KEYWORD_ONLY and is_constrained(hints[each.name])
        }

    @classmethod
    def complete(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Derive missing arguments from other ones.

        Raises:
            ShapeError: the arguments contradict each other, whatever the input.
        """
        return dict(arguments)


class Layer(Written):
    """The arithmetic of one node. Subclasses set the attributes in `__init__` and never change
    them.

    A class with a `kind` is registered under it.

    Attributes:
        onnx: the equivalent ONNX operator without attributes; if "", `to_onnx` exports the layer.
        in_shape, out_shape: shapes of one image.
        params, buffers: its arrays' specs; the arrays themselves are in the node's context.
        saves_input, saves_output: whether `backward` reads them, so that the engine keeps them
            alive.
        can_write_input: the output may overwrite the (first) input, if `node.inplace`.
        is_view: the output shares the input's memory.
        takes_tuple: it has several inputs.
        muladds: multiply-adds for one image, for `cnn summary`.
        path: how it is computed, if there are several ways.
        prepared: shape of the array that `prepare` computes from the parameters, such as
            transformed weights.
        prepared_grad: shape of the gradient that `backward` accumulates in place of the
            parameters'.
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
        kind = vars(cls).get("kind")  # subclasses that inherit a kind are not registered
        if not kind:
            return
        if kind in REGISTERED:
            raise TypeError(f"two layers of the kind {kind!r}")
        REGISTERED[kind] = cls

    def __init__(self, in_shape: Any, **arguments: Any) -> None:
        raise NotImplementedError

    def prepare(self, params: Mapping[str, Array], out: Array) -> None:
        """Write into `out`, of shape `prepared`, what all chunks of a step share."""
        raise NotImplementedError

    def collect(self, prepared_grad: Array, grads: Mapping[str, Array]) -> None:
        """Compute the parameters' gradients from `prepared_grad`, summed over the chunks."""
        raise NotImplementedError

    def for_prediction(self, backend: Backend) -> Layer:
        """The same layer, as it is computed fastest where no backward pass follows."""
        return self

    def forward(self, x: Any, node: NodeContext, run: RunContext) -> tuple[Array, Saved]:
        """Return the output and what `backward` needs.

        `x` is (n, *in_shape), or a tuple of arrays for a layer with several inputs. The output and
        the saved arrays come from `run.take` (or are `x`, or views of it); `x` is not modified
        unless `node.inplace`.
        """
        raise NotImplementedError

    def backward(
        self, dy: Array, saved: Any, node: NodeContext, run: RunContext
    ) -> Array | Arrays | None:
        """Return the gradient of the input (a tuple for several inputs), or None if it is not
        needed.

        `saved` is what `forward` returned. Adds to `node.grads` through `node.add_product` and
        `node.add_row_sum`. `dy`, (n, *out_shape) and contiguous, belongs to this call, which may
        overwrite and return it.
        """
        raise NotImplementedError

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        """Add the ONNX operators that compute this layer in evaluation mode.

        Args:
            inputs: names of the tensors it reads.
            name: name of its output, and prefix of other names.
            arrays: parameters and buffers by name, in PyTorch's layouts.
            operators: the graph to add to.

        Returns:
            The name of its output.
        """
        return operators.add(self.onnx, inputs, name)


def shape_text(shape: Shape) -> str:
    """`28x28x16`: height, width, channels."""
    return "x".join(map(str, shape))


class ChainLayer(Struct):
    """One layer of the chain in a block: its name in the block, its kind, and its arguments."""

    name: str
    kind: str
    arguments: Mapping[str, Any]


class Block(Written):
    """Several layers written as one: a chain, whose output is joined with the block's input.

    Attributes:
        joins: kind of the layer that reads the block's input and the chain's output.
        chain: the layers of the chain.
    """

    joins: ClassVar[str]
    chain: tuple[ChainLayer, ...]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        BLOCKS[cls.kind] = cls

    def __init__(self, in_shape: Any, **arguments: Any) -> None:
        raise NotImplementedError
