"""The interface of the kernels that layers call, implemented in NumPy or compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from cnn_cli.nn.kernels import depthwise, im2col, norm, pool, winograd
from cnn_cli.nn.kernels.activation import ActivationFunction
from cnn_cli.nn.kernels.geometry import Geometry
from cnn_cli.nn.kernels.paths import Backend
from cnn_cli.nn.types import Array, Scratch, Share

if TYPE_CHECKING:  # prediction does not need it
    from cnn_cli.nn.kernels.resample import Resampling


class Kernels:
    """The kernels that layers call, as `RunContext.kernels`; this class is the NumPy
    implementation.

    Attributes:
        name: `numpy` or `fast`, as in `--backend`.
        note: a note for the user on how the kernels were loaded, or None.
    """

    name: ClassVar[Backend] = "numpy"

    def __init__(self, note: str | None = None) -> None:
        self.note = note

    def activate(
        self, function: ActivationFunction, x: Array, y: Array, scratch: Scratch, *numbers: float
    ) -> None:
        """Write the activation of x to y, which may be x; both contiguous and of one shape."""
        function.forward(x, y, scratch, *numbers)

    def activate_backward(
        self,
        function: ActivationFunction,
        dy: Array,
        saved: Array,
        scratch: Scratch,
        *numbers: float,
    ) -> None:
        """Multiply dy by the derivative at `saved`, which is x or y as the function requires."""
        function.backward(dy, saved, scratch, *numbers)

    def direct_forward(
        self,
        x: Array,
        weight: Array,
        bias: Array,
        geometry: Geometry,
        activation: int,
        scratch: Scratch,
        share: Share,
        y: Array,
    ) -> None:
        """See `kernels.direct`, which NumPy alone gains nothing by."""
        from cnn_cli.nn.kernels import direct

        direct.forward(x, weight, bias, geometry, activation, scratch, share, y)

    def direct_depthwise(
        self,
        x: Array,
        weight: Array,
        bias: Array,
        geometry: Geometry,
        activation: int,
        scratch: Scratch,
        share: Share,
        y: Array,
    ) -> None:
        """See `kernels.direct`."""
        from cnn_cli.nn.kernels import direct

        direct.depthwise(x, weight, bias, geometry, activation, scratch, share, y)

    moments = staticmethod(norm.moments)
    normalize = staticmethod(norm.normalize)
    gradient_sums = staticmethod(norm.gradient_sums)
    normalize_backward = staticmethod(norm.normalize_backward)

    max_pool = staticmethod(pool.max_pool)
    max_pool_backward = staticmethod(pool.max_pool_backward)
    avg_pool = staticmethod(pool.avg_pool)
    avg_pool_backward = staticmethod(pool.avg_pool_backward)

    depthwise_forward = staticmethod(depthwise.forward)
    depthwise_weight_gradient = staticmethod(depthwise.weight_gradient)
    depthwise_input_gradient = staticmethod(depthwise.input_gradient)
    col2im = staticmethod(im2col.col2im)
    winograd = staticmethod(winograd.numpy_transforms)
    resample: Resampling | None = None
    """For augmentation; None if Pillow is to do it."""


NUMPY = Kernels()
