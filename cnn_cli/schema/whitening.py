"""A convolution's `init`, as a config writes it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cnn_cli.schema.fields import Above0, Also, Frozen, Must


def _word_is_whitening(value: Any) -> Any:
    return {} if value == "whitening" else value


class WhiteningConfig(Frozen):
    """Filters that make the images' patches white (arXiv:2404.00498, section 3.1).

    Attributes:
        type: says that it is this one.
        eps: added to the variance of each direction of the patches.
    """

    type: Literal["whitening"] = "whitening"
    eps: Above0 = 5e-4


ConvInit = Annotated[
    Literal["dirac"] | WhiteningConfig | None,
    Also(_word_is_whitening, lambda _: {"const": "whitening"}),
    Must("dirac, whitening, or a mapping of whitening's type and eps"),
]
