"""The losses, one file each, with arguments and arithmetic. Modules here are found automatically.

This package imports `nn.loss`, `schema` and the top-level modules.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated

from cnn_cli.nn.losses.base import LossConfig
from cnn_cli.schema.fields import OneOf, choices

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

LOSSES = choices(LossConfig)

AnyLoss = Annotated[LossConfig, OneOf("cross_entropy")]
