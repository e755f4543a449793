"""Convolution."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from math import prod
from typing import Annotated, Any, ClassVar, Literal

from cnn_cli.arithmetic import ceil_div
from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.kernels import conv, winograd
from cnn_cli.nn.kernels.geometry import Geometry
from cnn_cli.nn.kernels.im2col import pad
from cnn_cli.nn.kernels.loops.activation import NONE
from cnn_cli.nn.kernels.paths import (
    Backend,
    Path,
    can_take,
    choose_path,
    forward_path,
    packed_shape,
    predicting_path,
)
from cnn_cli.nn.kernels.reflect import fold_reflected, reflect
from cnn_cli.nn.kernels.winograd import POSITIONS
from cnn_cli.nn.layers.base import Layer, Operators, ParamSpec, ShapeError
from cnn_cli.nn.layers.padding import PaddingMode, pad_onnx, padded_shape, sides
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import (
    Above0,
    Count,
    Features,
    Flag,
    Model,
    Must,
    Pair,
    PairOrZero,
    Sides,
    accepts,
)


def _is_init(value: Any) -> bool:
    if isinstance(value, Mapping):
        eps = value.get("eps")
        return value.get("type") == "whitening" and len(value) == 2 and accepts(Above0, eps)
    return value in ("dirac", None)


Padding = Annotated[
    PairOrZero | Sides | Literal["same"],
    Must("a whole number, 0 or more, two or four of them, or 'same'"),
]
Init = Annotated[
    Literal["dirac"] | Mapping[str, Any] | None,
    Model(
        "dirac, whitening, or a mapping of whitening's type and eps",
        "cnn_cli.schema.whitening:ConvInit",
        _is_init,
    ),
]


class Conv(Layer):
    """2-D convolution.

    With padding `same` the output is the input divided by the stride, rounded up, as in
    TensorFlow; an odd row or column of padding is at the end.

    Args:
        in_shape: (h, w, c).
        out_channels: number of filters, which are the output channels.
        kernel_size: height and width of a filter.
        stride: step between windows.
        padding: rows and columns added on each side: one number, two, [height, width], four,
            [top, bottom, left, right], or `same`.
        dilation: step between the taps of a filter.
        groups: number of parts of the input and output channels; each output part reads only its
            input part.
        bias: add a trained bias to each channel.
        padding_mode: what is added: `zeros`, or `reflect`, the map mirrored at its edges.
        init: initial weights, instead of `model.init`: `dirac`, whose first filters are the
            identity, or `whitening`, computed from patches of the training images. Both start with
            bias 0.
        path: the way to compute it, instead of the fastest one.
        backend: which kernels the fastest one is chosen for.

    Attributes:
        path: the way it is computed.
        forward_path: the way its output is computed: `path`, or `direct` if that is faster.
        activation: applied to the result on the path `direct`, see `nn.fuse`.
        reflected: the padding, where that is a reflection; the geometry has none then.

    Raises:
        ShapeError: the input is not a map, the kernel does not fit it, `groups` does not divide
            its channels or `out_channels`, or `init` does not suit it.
        ValueError: such a convolution cannot take the path.
    """

    kind: ClassVar[str] = "conv"
    listed: ClassVar[int] = 10
    saves_input: ClassVar[bool] = True

    path: Path
    forward_path: Path
    activation: int = NONE
    reflected: Sides | None = None

    def __init__(
        self,
        in_shape: Shape,
        *,
        out_channels: Features,
        kernel_size: Pair,
        stride: Pair = (1, 1),
        padding: Padding = (0, 0),
        dilation: Pair = (1, 1),
        groups: Count = 1,
        bias: Flag = True,
        padding_mode: PaddingMode = "zeros",
        init: Init = None,
        path: Path | None = None,
        backend: Backend = "numpy",
    ) -> None:
        if len(in_shape) != 3:
            raise ShapeError("a convolution needs an input of rows, columns and channels")
        for what, channels in (("input", in_shape[2]), ("output", out_channels)):
            if channels % groups:
                raise ShapeError(f"groups={groups} does not divide {channels} {what} channels")
        if padding == "same":
            sizes = zip(in_shape[:2], kernel_size, stride, dilation, strict=True)
            th, tw = (_same_padding(*size) for size in sizes)
            padding = (th // 2, th - th // 2, tw // 2, tw - tw // 2)
        around, read_shape = sides(padding), tuple(in_shape)
        if padding_mode == "reflect" and any(around):
            # Reflection padding produces a new map, which needs no further padding.
            self.reflected = around
            read_shape, around = padded_shape(in_shape, around, padding_mode), (0, 0, 0, 0)
        self.geometry = Geometry(
            read_shape, out_channels, kernel_size, stride, around, dilation, groups
        )
        if min(self.geometry.out_size) < 1:
            raise ShapeError(_too_large(self.geometry))
        self.in_shape = in_shape
        self.out_shape = (*self.geometry.out_size, out_channels)
        shape = self.geometry.weight_shape
        fan_in = prod(shape[:3])
        init_kind, init_eps = _init(init)
        if init is not None and groups > 1:
            raise ShapeError(f"init {init_kind} needs a convolution of one group, not {groups}")
        if init_kind == "whitening" and (out_channels % 2 or out_channels > 2 * fan_in):
            rule = f"an even number of out_channels, at most {2 * fan_in}, not {out_channels}"
            raise ShapeError(f"init whitening needs {rule}")
        weight = ParamSpec("weight", shape, "weight", fan_in, (3, 2, 0, 1), init_kind, init_eps)
        self.params = (weight,)
        if bias:
            role: Literal["bias", "shift"] = "bias" if init is None else "shift"
            self.params += (ParamSpec("bias", (out_channels,), role, fan_in),)
        self.muladds = prod(self.out_shape) * fan_in
        if path is None:
            self._choose(backend)
        else:
            self._take(path, path)

    def for_backend(self, backend: Backend) -> Conv:
        """Return the same layer on the path that is fastest with those kernels."""
        other = copy(self)
        other._choose(backend)
        return other

    def for_prediction(self, backend: Backend) -> Conv:
        other = copy(self)
        path = predicting_path(self.path, self.geometry, backend)
        other._take(path, path)
        return other

    def _choose(self, backend: Backend) -> None:
        path = choose_path(self.geometry, backend)
        self._take(path, forward_path(path, self.geometry, backend))

    def _take(self, path: Path, forward_path: Path) -> None:
        if not can_take(path, self.geometry):
            raise ValueError(f"no path {path!r} for {self.geometry}")
        self.path, self.forward_path = path, forward_path
        tiles = POSITIONS, self.in_shape[2], self.geometry.out_channels
        self.prepared = (2, *tiles) if path == "winograd" else None
        if forward_path == "direct" and not self.geometry.depthwise:
            self.prepared = packed_shape(self.geometry.weight_shape)
        self.prepared_grad = tiles if path == "winograd" else None

    def prepare(self, params: Mapping[str, Array], out: Array) -> None:
        if self.forward_path == "direct":
            from cnn_cli.nn.kernels import direct  # compiled kernels alone take this path

            direct.pack(params["weight"], out)
        else:
            winograd.transform_weight(params["weight"], out)

    def collect(self, prepared_grad: Array, grads: Mapping[str, Array]) -> None:
        winograd.weight_gradient(prepared_grad, grads["weight"])

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, Array]:
        y, saved = run.take((x.shape[0], *self.out_shape)), x
        x = self._padded(x, run)
        weight, bias = node.params["weight"], node.params.get("bias")
        geometry = self.geometry
        if self.forward_path == "winograd":
            transforms = run.kernels.winograd(geometry)
            winograd.forward(x, node.prepared, bias, geometry, run.scratch, y, transforms)
        elif self.forward_path == "direct":
            self._forward_direct(x, node, run, y)
        else:
            conv.forward(x, weight, bias, geometry, self.path, run.scratch, y, run.kernels)
        return y, saved

    def _forward_direct(self, x: Array, node: NodeContext, run: RunContext, y: Array) -> None:
        geometry, bias = self.geometry, node.params.get("bias")
        if bias is None:
            bias = run.scratch("no bias", y.shape[3:])
            bias.fill(0)
        given = bias, geometry, self.activation, run.scratch, run.share, y
        if geometry.depthwise:
            run.kernels.direct_depthwise(x, node.params["weight"], *given)
            return
        if any(geometry.padding):
            padded = run.scratch("padded", (x.shape[0], *geometry.padded_size, x.shape[3]))
            pad(x, geometry.start, padded)
            x = padded
        run.kernels.direct_forward(x, node.prepared, *given)

    def backward(self, dy: Array, saved: Array, node: NodeContext, run: RunContext) -> Array | None:
        if "bias" in node.grads:
            node.add_row_sum("bias", dy, run)
        dx = run.take(saved.shape) if node.need_dx else None
        x, dpadded = self._padded(saved, run), dx
        if dx is not None and self.reflected is not None:
            dpadded = run.scratch("slopes of reflected", x.shape)
        if self.path == "winograd":
            self._backward_by_winograd(x, dy, node, run, dpadded)
        else:
            place = self.geometry, self.path, run.scratch
            conv.weight_gradient(x, dy, *place, node.grads["weight"], run.fresh, run.kernels)
            if dpadded is not None:
                conv.input_gradient(dy, node.params["weight"], *place, dpadded, run.kernels)
        if dx is not None and dpadded is not None and self.reflected is not None:
            fold_reflected(dpadded, self.reflected, dx)
        return dx

    def _padded(self, x: Array, run: RunContext) -> Array:
        """Return the map with its reflection padding, if any."""
        if self.reflected is None:
            return x
        out = run.scratch("reflected", (x.shape[0], *self.geometry.in_shape))
        reflect(x, self.reflected, out)
        return out

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        geometry = self.geometry
        top, bottom, left, right = geometry.padding
        if self.reflected is not None:
            inputs = [pad_onnx(inputs, f"{name}.padded", self.reflected, "reflect", operators)]
        return operators.add(
            "Conv",
            [*inputs, *(operators.constant(f"{name}.{key}", arrays[key]) for key in arrays)],
            name,
            kernel_shape=geometry.kernel_size,
            strides=geometry.stride,
            dilations=geometry.dilation,
            group=geometry.groups,
            pads=(top, left, bottom, right),
        )

    def _backward_by_winograd(
        self, x: Array, dy: Array, node: NodeContext, run: RunContext, dx: Array | None
    ) -> None:
        winograd.backward(
            x,
            dy,
            node.prepared,
            self.geometry,
            run.scratch,
            node.prepared_grad,
            run.fresh,
            dx,
            run.kernels.winograd(self.geometry),
        )


def _init(init: Init) -> tuple[Literal["dirac", "whitening"] | None, float]:
    """Return the initialization of the weights, and the eps of whitening."""
    return ("whitening", init["eps"]) if isinstance(init, Mapping) else (init, 0.0)


def _same_padding(size: int, kernel: int, stride: int, dilation: int) -> int:
    """Return the total padding of `size` pixels for ceil(size / stride) outputs."""
    last = (ceil_div(size, stride) - 1) * stride
    return max(last + dilation * (kernel - 1) + 1 - size, 0)


def _too_large(geometry: Geometry) -> str:
    kernel = _by(geometry.kernel_size)
    if geometry.reach != geometry.kernel_size:
        kernel += f" kernel, {_by(geometry.reach)} with its dilation,"
    else:
        kernel += " kernel"
    size = _by(geometry.padded_size)
    return f"a {kernel} does not fit its input of {size} (padding included)"


def _by(pair: Pair) -> str:
    return f"{pair[0]}x{pair[1]}"
