"""From `train.optimizer` to what moves a network's parameters."""

from __future__ import annotations

from cnn_cli.config import TrainConfig
from cnn_cli.config.optimizers import (
    AdamConfig,
    AdamWConfig,
    MuonConfig,
    OptimizerConfig,
    SGDConfig,
)
from cnn_cli.nn.params import Parameters
from cnn_cli.optim.groups import Groups, make_groups
from cnn_cli.optim.muon import Muon
from cnn_cli.optim.optimizer import SGD, Adam, Optimizer


def make_optimizer(
    config: OptimizerConfig, params: Parameters, groups: Groups | None = None
) -> Optimizer:
    """The optimizer that `train.optimizer` describes, for a network's parameters.

    Args:
        groups: of `make_groups`; by default as `config` alone asks for them.
    """
    if groups is None:
        groups = make_groups(params, TrainConfig(optimizer=config))
    match config:
        case SGDConfig():
            return SGD(config, params, groups)
        case AdamConfig() | AdamWConfig():
            return Adam(config, params, groups)
        case MuonConfig():
            return Muon(config, make_optimizer(config.other, params, groups))
