"""ONNX operators on images: convolution, pooling, means, padding, resizing and normalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnn_cli.errors import DataError
from cnn_cli.interop.foreign import Module, Op
from cnn_cli.interop.readers.onnx_operator import Operator, view_channels
from cnn_cli.interop.readers.tensor_views import (
    BATCH,
    CHANNELS,
    OUTER,
    LayoutError,
    View,
)
from cnn_cli.interop.readers.windows import window_sizes
from cnn_cli.nn.types import Array


class Maps(Operator):
    """Operators on images."""

    def _convolution(self) -> None:
        view, weight, bias = self._view(0), self._needed(1), self._constant(2)
        if weight.ndim == 3 and view.labels(1) == []:
            self._over_channels(view, weight, bias)
            return
        entry = self._map(view)
        facts = self._window(weight.shape[2:])
        groups = self.given.get("group", 1)
        if weight.shape[1] * groups != view_channels(view):
            raise LayoutError(f"its weights must be for {view_channels(view)} channels")
        space = view.shape[2:]
        arrays = {"weight": weight} | ({} if bias is None else {"bias": bias})
        shape = (*window_sizes(space, facts), weight.shape[0])
        facts["groups"] = groups
        module = Module(self.name, "conv", arrays)
        self._make("conv", (entry,), shape, facts, module)

    def _over_channels(self, view: View, weight: Array, bias: Array | None) -> None:
        """Convert a 1-D convolution along the channels' means (n, 1, c)."""
        size = weight.shape[-1]
        around = (size // 2, (size - 1) // 2)
        plain = {"strides": (1,), "dilations": (1,), "group": 1, "pads": around}
        plain["kernel_shape"] = (size,)
        given = {"pads": (0, 0), **self.given}
        if given.pop("auto_pad", "NOTSET") not in ("", "NOTSET"):
            raise self._refused("must have pads in numbers", self.given["auto_pad"])
        for key, value in given.items():
            if value != plain[key]:
                raise self._refused(f"must have {key} {plain[key]}, along channels", value)
        if len(view.axes) != 3 or view.labels(2) != [CHANNELS] or bias is not None:
            raise LayoutError("it must be along channels, (n, 1, c), without bias")
        if weight.shape[:2] != (1, 1) or len(self.network.shape(view.op)) != 1:
            raise LayoutError("it must be of one channel in and out, of means")
        module = Module(self.name, "other", {"weight": weight})
        self._alike("channel_conv", {"kernel_size": size}, module)

    def _lrn(self) -> None:
        given, view = self.given, self._view(0)
        self._map(view)
        facts = {
            "size": given["size"],
            "alpha": given.get("alpha", 1e-4),
            "beta": given.get("beta", 0.75),
            "k": given.get("bias", 1.0),
        }
        if facts["size"] % 2 == 0:
            raise self._refused("must have an odd size", facts["size"])
        self._alike("lrn", facts)

    def _upsample(self) -> None:
        """Convert nearest-neighbor upsampling; equivalent modes are recognized by their
        positions.
        """
        view = self._view(0)
        entry, shape = self._map(view), self._shape_of(view)
        if len(view.axes) != 4:
            raise LayoutError("its input must be images, channels first")
        scales, sizes = self._scales(), self._sizes_of_all()
        if sizes is None:
            factors = [1.0] * 4 if scales is None else scales
            sizes = [int(n * factor) for n, factor in zip(view.shape, factors, strict=True)]
        else:
            factors = [a / b for a, b in zip(sizes, view.shape, strict=True)]
        blocks = [round(factor) for factor in factors]
        whole = all(
            n * block == size for n, block, size in zip(view.shape, blocks, sizes, strict=True)
        )
        if blocks[:2] != [1, 1] or not whole or min(blocks) < 1 or factors != blocks:
            raise self._refused("must make rows and columns whole times as many", tuple(factors))
        if self.word == "Resize":
            for axis in (2, 3):
                self._check_places(blocks[axis], view.shape[axis])
        h, w, c = shape
        facts = {"scale": (blocks[2], blocks[3])}
        self._make("upsample", (entry,), (h * blocks[2], w * blocks[3], c), facts)

    def _scales(self) -> list[float] | None:
        """Return the scale factors of all axes of a Resize or Upsample; None if it has none."""
        if "scales" in self.given:
            return list(self.given["scales"])
        at = 1 if self.word == "Upsample" or self.network.opset < 11 else 2
        found = self._constant(at)
        return None if found is None or not found.size else self._of_all(found, 1.0)

    def _sizes_of_all(self) -> list[int] | None:
        if self.word == "Upsample" or self.network.opset < 11:
            return None
        found = self._constant(3)
        if found is None or not found.size:
            return None
        sizes = zip(self._of_all(found, 0), self._view(0).shape, strict=True)
        return [int(n) if n else before for n, before in sizes]

    def _of_all(self, found: Array, default: Any) -> list[Any]:
        """Expand values for some axes to all axes."""
        axes = self.given.get("axes", range(found.size))
        values = dict(zip([axis % 4 for axis in axes], found.reshape(-1).tolist(), strict=True))
        return [values.get(axis, default) for axis in range(4)]

    def _check_places(self, block: int, size: int) -> None:
        """Refuse a Resize that does not repeat each position equally often, in order."""
        mode = self.given.get("coordinate_transformation_mode", "half_pixel")
        rounding = self.given.get("nearest_mode", "round_prefer_floor")
        if self.network.opset < 11:  # without modes
            mode, rounding = "asymmetric", "floor"
        self._have_room(size * block)
        places = np.arange(size * block)
        at: Array
        match mode:
            case "asymmetric":
                at = places / block
            case "half_pixel" | "half_pixel_symmetric":
                at = (places + 0.5) / block - 0.5
            case "pytorch_half_pixel":
                at = (places + 0.5) / block - 0.5 if len(places) > 1 else 0.0 * places
            case "align_corners":
                at = places * ((size - 1) / max(len(places) - 1, 1))
            case _:
                raise self._refused("must have places of another mode", mode)
        match rounding:
            case "floor":
                found = np.floor(at)
            case "ceil":
                found = np.ceil(at)
            case "round_prefer_floor":
                found = np.ceil(at - 0.5)
            case _:
                found = np.floor(at + 0.5)
        if not np.array_equal(np.clip(found, 0, size - 1), places // block):
            raise self._refused("must repeat each row and column", f"{mode}, {rounding}")

    def _pool(self) -> None:
        view, given = self._view(0), self.given
        facts = self._window(given["kernel_shape"])
        facts["ceil_mode"] = bool(given.get("ceil_mode", 0))
        kind = "maxpool" if self.word == "MaxPool" else "avgpool"
        if kind == "avgpool":
            facts["count_include_pad"] = bool(given.get("count_include_pad", 0))
        entry = self._map(view)
        shape = (*window_sizes(view.shape[2:], facts), view_channels(view))
        self._make(kind, (entry,), shape, facts)

    def _mean(self, axes: Sequence[int], *, keep: bool) -> None:
        view = self._view(0)
        rank = len(view.axes)
        gone = {axis % rank for axis in axes}
        labels = {label for axis in gone for label in view.labels(axis)}
        space = {label for axis in range(rank) for label in view.labels(axis)} - {BATCH}
        if labels != {label for label in space if label in ("z", "y", "x")}:
            raise self._refused("must be a mean over the map", sorted(gone))
        kept = [() if i in gone else axis for i, axis in enumerate(view.axes)]
        if not keep:
            kept = [axis for i, axis in enumerate(kept) if i not in gone]
        shape = self.network.shape(view.op)[-1:]
        op = self.network.append(Op("global_avgpool", self.name, (view.op,), shape=shape))
        self._give(View(op, tuple(kept)))

    def _layernorm(self) -> None:
        view = self._view(0)
        rank = len(view.axes)
        if self.given.get("axis", -1) % rank != rank - 1 or view.labels(-1) not in (
            [],
            [CHANNELS],
        ):
            raise LayoutError("it must be over channels, the last axis")
        arrays = {"weight": self._needed(1)}
        bias = self._constant(2)
        arrays["bias"] = np.zeros_like(arrays["weight"]) if bias is None else bias
        module = Module(self.name, "affine", arrays)
        self._alike("layernorm", {"eps": self.given.get("epsilon", 1e-5)}, module)

    def _groupnorm(self) -> None:
        """Convert group normalization, written as instance normalization of grouped channels."""
        view = self._view(0)
        channels = self.network.shape(view.op)[-1]
        groups = self.given.get("num_groups", view.shape[1] if len(view.axes) > 1 else 0)
        labels = [label for axis in view.axes for label, _ in axis if label != BATCH]
        if self.word == "GroupNormalization" and not view.is_map():
            raise LayoutError("its input must be images, channels first")
        if labels[:1] not in ([CHANNELS], [OUTER]) or view.labels(0) != [BATCH]:
            raise LayoutError("it must be over groups of channels and the whole map")
        arrays = {}
        for key, i in (("weight", 1), ("bias", 2)):
            values = self._needed(i)
            each = self.word == "GroupNormalization" and self.network.opset >= 21
            count = channels if each else groups
            if values.size != count or channels % groups:
                raise LayoutError(f"it must have {count} numbers")
            arrays[key] = np.repeat(values.reshape(-1), channels // values.size)
        facts = {"num_groups": groups, "eps": self.given.get("epsilon", 1e-5)}
        self._alike("groupnorm", facts, Module(self.name, "affine", arrays))

    def _pad(self) -> None:
        view = self._view(0)
        rank = len(view.axes)
        pads = self.given.get("pads", self.given.get("paddings"))
        pads = self._needed(1).tolist() if pads is None else list(pads)
        value = self._constant(2)
        if value is not None and value.item() != 0:
            raise self._refused("must pad with zeros", value.item())
        axes = self._constant(3)
        at = range(rank) if axes is None else [axis % rank for axis in axes.tolist()]
        half = len(pads) // 2
        sides = dict(zip(at, zip(pads[:half], pads[half:], strict=True), strict=True))
        if not any(pads):
            self._give(view)
            return
        if any(any(pair) and axis < 2 for axis, pair in sides.items()):
            raise self._refused("must pad rows and columns alone", tuple(pads))
        mode = self.given.get("mode", "constant")
        if mode != "constant" and min(pads) < 0:
            raise self._refused("must cut nothing off where it mirrors", tuple(pads))
        entry = self._map(view)
        if rank != 4:
            raise LayoutError("its input must be images, channels first")
        padding = (sides.get(2, (0, 0)), sides.get(3, (0, 0)))
        h, w, c = self._shape_of(view)
        shape = (h + sum(padding[0]), w + sum(padding[1]), c)
        if mode == "constant":
            self._make("zeropad", (entry,), shape, {"padding": padding})
        else:
            facts = {"padding": (*padding[0], *padding[1]), "padding_mode": mode}
            self._make("pad", (entry,), shape, facts)

    def _window(self, kernel: Any) -> dict[str, Any]:
        given = self.given
        if len(kernel) != 2:
            rule = f"{self.name} must work on images"
            raise DataError(self.network.path, rule, f"{len(kernel)} dimensions")
        if tuple(given.get("kernel_shape", kernel)) != tuple(kernel):
            raise self._refused("must have a kernel of its weights' size", given["kernel_shape"])
        auto = given.get("auto_pad", "NOTSET")
        if auto not in ("NOTSET", "", "VALID", "SAME_UPPER"):
            raise self._refused("must not pad at the start alone", auto)
        top, left, bottom, right = (
            given.get("pads", (0, 0, 0, 0)) if auto in ("NOTSET", "") else (0, 0, 0, 0)
        )
        return {
            "kernel_size": tuple(kernel),
            "stride": tuple(given.get("strides", (1, 1))),
            "dilation": tuple(given.get("dilations", (1, 1))),
            "padding": "same" if auto == "SAME_UPPER" else (top, bottom, left, right),
        }
