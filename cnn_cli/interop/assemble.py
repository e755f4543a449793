"""Convert a file's arrays to the network's parameters: shapes, orders and statistics.

Conversions that keep the network's function are made and noted; everything else is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np

from cnn_cli.errors import ConfigError, DataError, UsageError, listed
from cnn_cli.interop.foreign import Foreign, Module
from cnn_cli.interop.match_names import fits, layers_with_arrays
from cnn_cli.nn.graph import IMAGE, Graph, Node
from cnn_cli.nn.layers.conv import Conv
from cnn_cli.nn.layers.linear import Linear
from cnn_cli.nn.types import Array, Shape


@dataclass(frozen=True, slots=True)
class Standardization:
    """Weight standardization (Qiao et al. 2019), applied once instead of in every pass.

    Each filter gets mean 0 and variance 1; if the file has a `gain` for it (Brock et al. 2021), its
    standard deviation becomes gain · gamma / sqrt(fan_in).

    Attributes:
        eps: added to the variance.
        gamma: correction for the activation's variance; 1 for activations that preserve it.
    """

    eps: float
    gamma: float = 1.0

    def apply(self, weight: Array, gain: Array | None) -> Array:
        """(o, …), (o, 1, …) or None -> (o, …) in float64."""
        rows = weight.reshape(len(weight), -1).astype(np.float64)
        rows -= rows.mean(axis=1, keepdims=True)
        rows /= np.sqrt(rows.var(axis=1, keepdims=True) + self.eps)
        if gain is not None:
            rows *= gain.reshape(-1, 1) * (self.gamma / sqrt(rows.shape[1]))
        return rows.reshape(weight.shape)


def assemble(
    graph: Graph,
    foreign: Foreign,
    pairs: Mapping[int, Module],
    eps: Mapping[int, float],
    standardization: Standardization | None = None,
) -> tuple[dict[str, Array], list[str]]:
    """Return the network's arrays by `layer/param`, in PyTorch's layouts.

    Args:
        graph: the network.
        foreign: the file's content.
        pairs: the file's module for each node; a batchnorm without one was folded.
        eps: eps of the file's batchnorms, if known.
        standardization: for the weights of convolutions, or None.

    Returns:
        The arrays, and sentences on the conversions.

    Raises:
        DataError: arrays are missing, extra, misshapen or not finite; all are listed.
        UsageError: the standardization has nothing to apply to.
    """
    work = _Assembly(graph, foreign.place, standardization)
    for node in layers_with_arrays(graph):
        module = pairs.get(node.index)
        if module is None:
            work.fold(node)
        else:
            work.take(node, module, eps.get(node.index))
    taken = {id(module) for module in pairs.values()}
    work.extra += [module.name for module in foreign.modules if id(module) not in taken]
    work.refuse_problems()
    work.refuse_unused_standardization()
    return work.arrays, work.notes()


def swap_colors(graph: Graph, arrays: dict[str, Array], place: str) -> None:
    """Convert weights for BGR to weights for RGB, in place.

    Raises:
        ConfigError: a layer other than a convolution reads the image, or it is gray.
    """
    if graph.in_shape[2] != 3:
        raise ConfigError(f"{place}: data.channels", "must be 3 for --channel-order bgr")
    for node in graph.nodes:
        if IMAGE in node.inputs:
            if node.layer.kind != "conv" or node.layer.params[0].shape[2] != 3:
                rule = "the image must be read by convolutions alone for --channel-order bgr"
                raise ConfigError(f"{place}: model.layers", rule, node.layer.kind)
            name = f"{node.name}/weight"
            arrays[name] = np.ascontiguousarray(arrays[name][:, ::-1])


class _Assembly:
    """Collects the network's arrays, what is wrong with the file's, and counts of conversions."""

    def __init__(self, graph: Graph, place: str, standardization: Standardization | None) -> None:
        self.graph = graph
        self.place = place
        self.standardization = standardization
        self.arrays: dict[str, Array] = {}
        self.missing: list[str] = []
        self.extra: list[str] = []
        self.misshapen: list[str] = []
        self.infinite: list[str] = []
        self.biases = self.epsilons = self.folded = self.reordered = self.standardized = 0
        self.gains = 0

    def take(self, node: Node, module: Module, eps: float | None) -> None:
        """Add a node's arrays from its module.

        Raises:
            DataError: it is a module of another kind of layer.
        """
        if not fits(node, module):
            rule = f"{module.name} must be arrays for {node.name} ({node.layer.kind})"
            raise DataError(self.place, rule, f"those of a {module.kind} layer")
        found = dict(module.arrays)
        specs = [(spec.name, spec.torch_shape) for spec in node.layer.params]
        specs += [(spec.name, spec.shape) for spec in node.layer.buffers]
        for param, shape in specs:
            name = f"{node.name}/{param}"
            if param not in found:
                self.missing.append(f"{module.name}.{param} for {name}")
                continue
            array = found.pop(param)
            if param == "weight":
                array = self._reorder(node, module, array)
                array = self._standardized(node, array, found)
            if (
                node.layer.kind in ("linear", "conv")
                and (*array.shape, 1, 1)[:4] == (*shape, 1, 1)[:4]
            ):
                array = array.reshape(shape)  # a 1×1 convolution corresponds to a linear layer
            if array.shape != shape:
                self.misshapen.append(_misshapen(module, param, array.shape, name, shape))
            elif array.dtype.kind not in "fiu" or not np.isfinite(array).all():
                self.infinite.append(f"{module.name}.{param}")
            else:
                self._add(name, array)
        if "bias" in found and self._into_statistics(node, found["bias"]):
            del found["bias"]
        self.extra += [f"{module.name}.{param}" for param in found]
        if eps is not None:
            self._take_eps(node, eps)

    def fold(self, node: Node) -> None:
        """Add a batchnorm that the file has folded into the preceding convolution.

        Statistics and scale become the identity; the shift is the convolution's bias.
        """
        channels = node.layer.in_shape[-1]
        mean = self.arrays.pop(f"{node.name}/running_mean", None)
        if mean is not None:  # the bias that `_into_statistics` has stored there
            self.biases -= 1
        eps = getattr(node.layer, "eps", 0.0)
        for param, value in (
            ("weight", np.ones(channels)),
            ("bias", np.zeros(channels) if mean is None else -mean),
            ("running_mean", np.zeros(channels)),
            ("running_var", np.full(channels, 1 - eps)),
        ):
            self.arrays[f"{node.name}/{param}"] = value
        self.folded += 1

    def _take_eps(self, node: Node, eps: float) -> None:
        """Add what the file's eps has more than the network's to the running variance."""
        ours = getattr(node.layer, "eps", None)
        # ONNX stores it in float32.
        if ours is None or np.float32(eps) == np.float32(ours):
            return
        variance = f"{node.name}/running_var"
        if variance not in self.arrays:
            rule = f"{node.layer.kind}.eps of {node.name} must be the file's, {eps:g}"
            raise DataError(self.place, rule, f"{ours:g}")
        self.arrays[variance] = self.arrays[variance] + (eps - ours)
        self.epsilons += 1
        if self.arrays[variance].min() < 0:
            rule = f"batchnorm.eps of {node.name} must be at most the file's, {eps:g}"
            raise DataError(self.place, rule, f"{ours:g}")

    def _into_statistics(self, node: Node, bias: Array) -> bool:
        """Move a bias that the network lacks into the running mean of the following batchnorm.

        The batchnorm subtracts it again, so that only its running mean changes.
        """
        readers = [other for other in self.graph.nodes if node.index in other.inputs]
        kinds = [other.layer.kind for other in readers]
        if node.layer.kind not in ("conv", "linear") or kinds != ["batchnorm"]:
            return False
        if bias.shape != node.layer.out_shape[-1:] or not np.isfinite(bias).all():
            return False
        # `_add` later adds the batchnorm's own mean: nodes come in topological order.
        self.arrays[f"{readers[0].name}/running_mean"] = -bias.astype(np.float64)
        self.biases += 1
        return True

    def _add(self, name: str, array: Array) -> None:
        values = array.astype(np.float64)
        self.arrays[name] = self.arrays[name] + values if name in self.arrays else values

    def _reorder(self, node: Node, module: Module, weight: Array) -> Array:
        """Reorder a linear layer's columns to channel, row, column."""
        if not isinstance(node.layer, Linear) or module.flattens == "chw":
            return weight
        shape = self._flattened(node)
        if len(shape) != 3 or prod(shape[:2]) == 1 or weight.shape[1:] != (prod(shape),):
            return weight
        self.reordered += 1
        by_pixel = weight.reshape(-1, *shape)
        return by_pixel.transpose(0, 3, 1, 2).reshape(weight.shape)

    def _standardized(self, node: Node, weight: Array, found: dict[str, Array]) -> Array:
        """Standardize a convolution's weight if requested; removes `gain` from `found`."""
        if self.standardization is None or not isinstance(node.layer, Conv):
            return weight
        gain = found.get("gain")
        sound = weight.size and weight.dtype.kind in "fiu"
        if not sound or (gain is not None and gain.size != len(weight)):
            return weight  # the weight, or a remaining gain, is refused later
        found.pop("gain", None)
        self.standardized += 1
        self.gains += gain is not None
        return self.standardization.apply(weight, gain)

    def _flattened(self, node: Node) -> Shape:
        """Return the shape of a linear layer's input before it was flattened."""
        while len(node.layer.in_shape) == 1 and node.inputs != (IMAGE,) and len(node.inputs) == 1:
            before = self.graph.nodes[node.inputs[0]]
            if before.layer.params and before.layer.kind != "batchnorm":
                break
            node = before
        return node.layer.in_shape if node.layer.kind != "global_avgpool" else node.layer.out_shape

    def refuse_problems(self) -> None:
        """Refuse arrays that are not the network's.

        Raises:
            DataError: some are missing, left over, misshapen or not finite.
        """
        kinds = {
            "missing": self.missing,
            "extra": self.extra,
            "misshapen": self.misshapen,
            "not of finite numbers": self.infinite,
        }
        problems = [f"{kind} {listed(names)}" for kind, names in kinds.items() if names]
        if problems:
            raise DataError(self.place, "arrays must be the network's", "; ".join(problems))

    def refuse_unused_standardization(self) -> None:
        """Refuse a standardization without effect.

        Raises:
            UsageError: there are no convolutions, or there is a gamma but no gains.
        """
        if self.standardization is None:
            return
        if not self.standardized:
            raise UsageError("--standardize", "goes with a network that has convolutions")
        gamma = self.standardization.gamma
        if gamma != 1 and not self.gains:
            raise UsageError("--standardize", "GAMMA goes with a file that has gains", gamma)

    def notes(self) -> list[str]:
        """Return sentences on the conversions."""
        notes = []
        if self.biases:
            notes.append(f"biases before batchnorm taken into running means: {self.biases}")
        if self.epsilons:
            notes.append(f"other eps taken into running variances: {self.epsilons}")
        if self.folded:
            notes.append(f"batchnorms that the file has folded, set to shifts: {self.folded}")
        if self.standardized:
            notes.append(f"convolutions' weights standardized: {self.standardized}")
        if self.reordered:
            notes.append(f"linear layers turned to channels first: {self.reordered}")
        return notes


def _misshapen(module: Module, param: str, found: Shape, name: str, shape: Shape) -> str:
    return f"{module.name}.{param} of shape {found}, not {shape} as {name}"
