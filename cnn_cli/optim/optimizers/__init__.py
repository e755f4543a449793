"""The optimizers, a file each: arguments and arithmetic. Each module here is found by itself.

Imports `optim.optimizer`, `optim.groups`, `nn`, `schema` and the ground floor.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated

from cnn_cli.nn.params import Parameters
from cnn_cli.optim.groups import OptimizerAlone, make_groups
from cnn_cli.optim.optimizer import ElementwiseConfig, Groups, Optimizer, OptimizerConfig
from cnn_cli.schema.fields import OneOf, choices

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

OPTIMIZERS = choices(OptimizerConfig)
OTHER_OPTIMIZERS = choices(ElementwiseConfig)
"""What Muon may leave its other parameters to."""

AnyOptimizer = Annotated[OptimizerConfig, OneOf("sgd")]


def make_optimizer(
    config: OptimizerConfig, params: Parameters, groups: Groups | None = None
) -> Optimizer:
    """The optimizer that `train.optimizer` describes, for a network's parameters.

    Args:
        groups: of `make_groups`; by default as `config` alone asks for them.
    """
    if groups is None:
        groups = make_groups(params, OptimizerAlone(config))
    return config.make(params, groups)
