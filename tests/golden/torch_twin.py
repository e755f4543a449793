"""The same network in PyTorch, built from the same layers by independent code."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

Pair = tuple[int, int]


class Twin(nn.Module):
    """`model.layers` as PyTorch modules; channels and sizes come from running a blank image."""

    def __init__(self, layers: list[Any], channels: int, size: Pair, classes: int) -> None:
        super().__init__()
        self.by_name: dict[str, nn.Module] = {}
        self.outputs: dict[str, torch.Tensor] = {}
        self.classes = classes
        blank = torch.zeros(2, channels, *size)
        self.body, _ = self._chain(layers, blank, "layers", ())
        self.tracked = nn.ModuleList(self.by_name.values())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.body(x)
        return y

    def state(self) -> dict[str, Any]:
        """Return parameters and running statistics as `layer/name`, copied."""
        return {
            f"{name}/{key}": value.detach().numpy().copy()
            for name, module in self.by_name.items()
            for key, value in module.state_dict().items()
            if key != "num_batches_tracked"
        }

    def gradients(self) -> dict[str, Any]:
        return {
            f"{name}/{key}": value.grad.numpy().copy()
            for name, module in self.by_name.items()
            for key, value in module.named_parameters()
            if value.grad is not None
        }

    def _chain(
        self, layers: list[Any], x: torch.Tensor, path: str, copies: tuple[int, ...]
    ) -> tuple[nn.Module, torch.Tensor]:
        modules = []
        for i, layer in enumerate(layers):
            module, x = self._layer(layer, x, f"{path}.{i}", copies)
            arguments = next(iter(layer.values())) if isinstance(layer, dict) else {}
            if isinstance(arguments, dict) and "name" in arguments:
                name = ".".join([arguments["name"], *map(str, copies)])
                module = _Named(module, name, self.outputs)
                self.outputs[name] = x
            modules.append(module)
        return nn.Sequential(*modules), x

    def _layer(
        self, layer: Any, x: torch.Tensor, name: str, copies: tuple[int, ...]
    ) -> tuple[nn.Module, torch.Tensor]:
        kind, arguments = next(iter(layer.items())) if isinstance(layer, dict) else (layer, {})
        if isinstance(arguments, dict) and "name" in arguments:
            name = ".".join([arguments["name"], *map(str, copies)])
            arguments = {key: value for key, value in arguments.items() if key != "name"}
        if kind == "repeat":
            modules = []
            for copy in range(arguments["times"]):
                inner = f"{name}.{copy}.layers"
                module, x = self._chain(arguments["layers"], x, inner, (*copies, copy))
                modules.append(module)
            return nn.Sequential(*modules), x
        if kind == "from":
            # In a repeat, the layer of the same copy, if there is one.
            own = ".".join([arguments, *map(str, copies)])
            earlier = _From(own if own in self.outputs else arguments, self.outputs)
            return earlier, earlier(x)
        if kind == "residual":
            return self._residual(arguments, x, name, copies)
        if kind in ("squeeze_excite", "eca"):
            return self._gated(kind, {} if arguments is None else arguments, x, name)
        if kind in ("branches", "split"):
            combine = "concat"
            if isinstance(arguments, dict):
                combine, arguments = arguments["combine"], arguments["branches"]
            parts = x.chunk(len(arguments), dim=1) if kind == "split" else [x] * len(arguments)
            branches = [
                self._chain(branch, part, f"{name}.{i}", copies)[0]
                for i, (branch, part) in enumerate(zip(arguments, parts, strict=True))
            ]
            joined = _Split(branches) if kind == "split" else _Branches(branches, combine)
            return joined, joined(x)
        module = _simple(kind, arguments, x, self.classes)
        if any(True for _ in module.parameters()):
            self.by_name[name] = module
        return module, _run(module, x)

    def _gated(
        self, kind: str, arguments: dict[str, Any], x: torch.Tensor, name: str
    ) -> tuple[nn.Module, torch.Tensor]:
        made_of = _SqueezeExcite if kind == "squeeze_excite" else _EfficientChannelAttention
        module = made_of(x.shape[1], **arguments)
        parts = [
            part for part, _ in module.named_children() if part in ("reduce", "expand", "conv")
        ]
        self.by_name |= {f"{name}.{part}": getattr(module, part) for part in parts}
        return module, _run(module, x)

    def _residual(
        self, arguments: dict[str, Any], x: torch.Tensor, name: str, copies: tuple[int, ...]
    ) -> tuple[nn.Module, torch.Tensor]:
        branch, y = self._chain(arguments["layers"], x, f"{name}.layers", copies)
        shortcut: nn.Module = nn.Identity()
        if arguments.get("shortcut") is not None:
            shortcut, _ = self._chain(arguments["shortcut"], x, f"{name}.shortcut", copies)
        elif y.shape != x.shape:
            stride = -(-x.shape[2] // y.shape[2])
            projection = nn.Conv2d(x.shape[1], y.shape[1], 1, stride=stride, bias=False)
            norm = nn.BatchNorm2d(y.shape[1])
            self.by_name[f"{name}.shortcut.0"] = projection
            self.by_name[f"{name}.shortcut.1"] = norm
            shortcut = nn.Sequential(projection, norm)
        joined = _Residual(branch, shortcut)
        return joined, _run(joined, x)


class _Named(nn.Module):
    """Stores a layer's output for layers that refer to it."""

    def __init__(self, module: nn.Module, name: str, outputs: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.module, self.name, self.outputs = module, name, outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.module(x)
        self.outputs[self.name] = y
        return y


class _From(nn.Module):
    def __init__(self, name: str, outputs: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.name, self.outputs = name, outputs

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.outputs[self.name]


class _Residual(nn.Module):
    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.branch(x) + self.shortcut(x)
        return y


class _Branches(nn.Module):
    def __init__(self, branches: list[nn.Module], combine: str = "concat") -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.combine = combine

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ends = [branch(x) for branch in self.branches]
        if self.combine == "concat":
            return torch.cat(ends, dim=1)
        maps = [end if end.ndim == x.ndim else end[..., None, None] for end in ends]
        return reduce(torch.add if self.combine == "sum" else torch.mul, maps)


class _Split(_Branches):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = x.chunk(len(self.branches), dim=1)
        return torch.cat([each(part) for each, part in zip(self.branches, parts, strict=True)], 1)


class _LayerNorm(nn.LayerNorm):
    """Normalizes over the channels."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__(channels, eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class _LayerScale(nn.Module):
    def __init__(self, channels: int, init: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), init))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight[:, None, None]


class _HardSigmoid(nn.Module):
    """PyTorch's own divides its gradient by a 6 in float32, whatever the dtype."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu6(x + 3) / 6


class _SqueezeExcite(nn.Module):
    def __init__(
        self, channels: int, squeeze_channels: int, activation: str = "relu", gate: str = "sigmoid"
    ) -> None:
        super().__init__()
        self.reduce = nn.Linear(channels, squeeze_channels)
        self.expand = nn.Linear(squeeze_channels, channels)
        self.activation = getattr(F, activation)
        self.gate: nn.Module = _HardSigmoid() if gate == "hardsigmoid" else nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        squeezed = self.activation(self.reduce(x.mean((2, 3))))
        y: torch.Tensor = x * self.gate(self.expand(squeezed))[:, :, None, None]
        return y


class _EfficientChannelAttention(nn.Module):
    def __init__(
        self, channels: int, kernel_size: int | None = None, gate: str = "sigmoid"
    ) -> None:
        super().__init__()
        if kernel_size is None:
            kernel_size = int((math.log2(channels) + 1) / 2)
            kernel_size = max(kernel_size + (kernel_size % 2 == 0), 3)
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.gate: nn.Module = _HardSigmoid() if gate == "hardsigmoid" else nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        numbers = self.conv(x.mean((2, 3))[:, None])[:, 0]
        y: torch.Tensor = x * self.gate(numbers)[:, :, None, None]
        return y


class _Pad(nn.Module):
    """Padding of (height, width) or (top, bottom, left, right)."""

    def __init__(self, padding: Any, padding_mode: str = "zeros") -> None:
        super().__init__()
        pair = (padding, padding) if isinstance(padding, int) else padding
        top, bottom, left, right = pair if len(pair) == 4 else (pair[0], pair[0], pair[1], pair[1])
        self.sides = [left, right, top, bottom]
        self.mode = "constant" if padding_mode == "zeros" else padding_mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x, self.sides, self.mode)


class _Slice(nn.Module):
    def __init__(self, start: int = 0, stop: int | None = None) -> None:
        super().__init__()
        self.channels = slice(start, stop)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, self.channels]


class _RadixSoftmax(nn.Module):
    def __init__(self, radix: int) -> None:
        super().__init__()
        self.radix = radix

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(1, (self.radix, -1)).softmax(1).flatten(1, 2)


class _PaddedConv(nn.Conv2d):
    """Convolution with separate padding for each side."""

    def __init__(
        self, channels: int, *, padding: Any, padding_mode: str = "zeros", **arguments: Any
    ) -> None:
        super().__init__(channels, **arguments)
        self.around = _Pad(padding, padding_mode)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.around(x))


class _SameConv(nn.Conv2d):
    """Convolution with TensorFlow's padding, which PyTorch supports for stride 1 only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sides: list[int] = []
        for axis in (1, 0):
            size, stride = x.shape[2 + axis], self.stride[axis]
            reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
            total = max((math.ceil(size / stride) - 1) * stride + reach - size, 0)
            sides += [total // 2, total - total // 2]
        return super().forward(F.pad(x, sides))


class _Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


class _GlobalAvgPool(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.adaptive_avg_pool2d(x, 1).flatten(1)


def _run(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Run for shapes only: statistics must not change."""
    module.eval()
    with torch.no_grad():
        y: torch.Tensor = module(x)
    module.train()
    return y


def _simple(  # noqa: PLR0911 - a case a kind
    kind: str, arguments: Any, x: torch.Tensor, classes: int
) -> nn.Module:
    """Return a layer without inner layers."""
    c = x.shape[1]
    first = {
        "linear": "out_features",
        "maxpool": "kernel_size",
        "avgpool": "kernel_size",
        "dropout": "p",
        "leaky_relu": "negative_slope",
        "groupnorm": "num_groups",
        "elu": "alpha",
        "scale": "factor",
        "prelu": "num_parameters",
        "adaptive_avgpool": "output_size",
        "channel_shuffle": "groups",
        "layer_scale": "init",
        "upsample": "scale_factor",
        "pad": "padding",
        "slice": "start",
        "radix_softmax": "radix",
    }
    if not isinstance(arguments, dict):
        arguments = {first[kind]: arguments}
    arguments = {
        key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()
    }
    match kind:
        case "conv" if arguments.get("padding") == "same" and arguments.get("stride", 1) != 1:
            return _SameConv(c, **arguments | {"padding": 0})
        case "conv":
            if arguments["out_channels"] == "classes":
                arguments["out_channels"] = classes
            four = isinstance(padding := arguments.get("padding"), tuple) and len(padding) == 4
            return (_PaddedConv if four else nn.Conv2d)(c, **arguments)
        case "avgpool" if isinstance(arguments.get("padding"), tuple):
            return nn.Sequential(_Pad(arguments.pop("padding")), nn.AvgPool2d(**arguments))
        case "batchnorm" | "layernorm" | "layer_scale":
            norm = nn.BatchNorm2d if x.ndim == 4 else nn.BatchNorm1d
            kinds: dict[str, Any] = {"layernorm": _LayerNorm, "layer_scale": _LayerScale}
            module: nn.Module = kinds.get(kind, norm)(c, **arguments)
            return module
        case "groupnorm":
            return nn.GroupNorm(arguments.pop("num_groups"), c, **arguments)
        case "linear":
            out = arguments.pop("out_features")
            features = x.flatten(1).shape[1]
            linear = nn.Linear(features, classes if out == "classes" else out, **arguments)
            return _Flat(linear) if x.ndim == 4 else linear
    plain = {
        "hardsigmoid": _HardSigmoid,
        "prelu": nn.PReLU,
        "maxpool": nn.MaxPool2d,
        "avgpool": nn.AvgPool2d,
        "global_avgpool": _GlobalAvgPool,
        "flatten": nn.Flatten,
        "adaptive_avgpool": nn.AdaptiveAvgPool2d,
        "channel_shuffle": nn.ChannelShuffle,
        "upsample": nn.Upsample,
        "pad": _Pad,
        "slice": _Slice,
        "radix_softmax": _RadixSoftmax,
        "lrn": nn.LocalResponseNorm,
        "dropout": nn.Dropout,
        "scale": _Scale,
    }
    # Activations with the same names in PyTorch.
    named = {name.lower(): each for name, each in vars(nn).items()}
    module: nn.Module = (plain.get(kind) or named[kind.replace("_", "")])(**arguments)
    return module


class _Flat(nn.Linear):
    """A linear layer that flattens its input."""

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.flatten(1), self.weight, self.bias)
