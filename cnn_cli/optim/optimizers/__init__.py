"""The optimizers, one file each, with arguments and arithmetic. Modules here are found
automatically.

This package imports `optim.optimizer`, `optim.groups`, `nn`, `schema` and the top-level modules.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated

from cnn_cli.nn.params import Parameters
from cnn_cli.optim.groups import GroupRules, make_groups
from cnn_cli.optim.optimizer import ElementwiseConfig, Groups, Optimizer, OptimizerConfig
from cnn_cli.schema.fields import OneOf, choices

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

OPTIMIZERS = choices(OptimizerConfig)
OTHER_OPTIMIZERS = choices(ElementwiseConfig)
"""The optimizers that Muon can use for its other parameters."""

AnyOptimizer = Annotated[OptimizerConfig, OneOf("sgd")]


def make_optimizer(
    config: OptimizerConfig, params: Parameters, groups: Groups | None = None
) -> Optimizer:
    """Create the optimizer that `train.optimizer` describes.

    Args:
        config: the section.
        params: the network's parameters.
        groups: from `make_groups`; by default those for `config` alone.
    """
    if groups is None:
        groups = make_groups(params, GroupRules(config))
    return config.make(params, groups)
