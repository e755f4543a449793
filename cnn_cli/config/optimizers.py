"""The config's `train.optimizer`: one model a kind, with PyTorch's names and defaults.

`weight_decay` is of weights; `norm_weight_decay` of what has one number a channel or feature: the
scales and shifts of normalizations, all biases and the slopes of prelu. Left out it is the same.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cnn_cli.schema.fields import (
    Above0,
    Flag,
    Frozen,
    Must,
    NotBelow0,
    ShareBelow1,
    WithType,
    broken,
)


class SGDConfig(Frozen):
    """Stochastic gradient descent (as torch.optim.SGD).

    Attributes:
        type: which optimizer it is.
        lr: learning rate; the schedule is a share of it.
        momentum: share of the last step that the next one goes on with.
        nesterov: whether the gradient counts as after that share (needs a momentum above 0).
        weight_decay: of weights, an L2 term.
        norm_weight_decay: that of normalizations, biases and prelu's slopes; by default
            `weight_decay`.
    """

    type: Literal["sgd"] = "sgd"
    lr: NotBelow0 = 0.1
    momentum: ShareBelow1 = 0.9
    nesterov: Flag = True
    weight_decay: NotBelow0 = 5e-4
    norm_weight_decay: NotBelow0 | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain_without_momentum(cls, value: Any) -> Any:
        """`momentum: 0` alone means no Nesterov either."""
        if isinstance(value, dict) and value.get("momentum") == 0:
            return {"nesterov": False} | value
        return value

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> SGDConfig:
        if self.nesterov and self.momentum == 0:
            raise broken("nesterov requires a momentum above 0")
        return self


class _AdamConfig(Frozen):
    """What Adam and AdamW have in common.

    Attributes:
        type: which optimizer it is.
        lr: learning rate; the schedule is a share of it.
        betas: decays of the averages of the gradient and of its square.
        eps: added to the root of the latter.
        weight_decay: of weights.
        norm_weight_decay: that of normalizations, biases and prelu's slopes; by default
            `weight_decay`.
    """

    lr: NotBelow0 = 1e-3
    betas: Annotated[
        tuple[ShareBelow1, ShareBelow1], Must("two numbers from 0 up to, but not, 1")
    ] = (0.9, 0.999)
    eps: NotBelow0 = 1e-8


class AdamConfig(_AdamConfig):
    """Adam (Kingma and Ba 2015; weight decay as an L2 term, as torch.optim.Adam)."""

    type: Literal["adam"] = "adam"
    weight_decay: NotBelow0 = 0.0
    norm_weight_decay: NotBelow0 | None = None


class AdamWConfig(_AdamConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    type: Literal["adamw"] = "adamw"
    weight_decay: NotBelow0 = 0.01
    norm_weight_decay: NotBelow0 | None = None


OtherOptimizerConfig = SGDConfig | AdamConfig | AdamWConfig


class MuonConfig(Frozen):
    """Muon for the filters of convolutions, another optimizer for the rest (K. Jordan et al. 2024).

    Attributes:
        type: which optimizer it is.
        lr: of filters; the schedule is of this one, and that of `other` keeps its ratio to it.
        momentum: share of the last step that the next one goes on with.
        nesterov: whether the gradient counts as after that share (needs a momentum above 0).
        steps: of the Newton-Schulz iteration.
        weight_decay: decoupled, as AdamW's.
        adjust_lr: the rate times √max(1, out / (in·kh·kw)) (`original`) or, for rates of AdamW,
            0.2·√max(out, in·kh·kw) (`match_rms_adamw`), as torch.optim.Muon; `none` leaves it.
        normalize_weights: before each step, filters are scaled to a mean square of 1 a filter.
        other: of all other parameters.
    """

    type: Literal["muon"] = "muon"
    lr: Above0 = 0.02
    momentum: ShareBelow1 = 0.95
    nesterov: Flag = True
    steps: Annotated[int, Field(strict=True, gt=0, le=20), Must("a whole number from 1 to 20")] = 5
    weight_decay: NotBelow0 = 0.0
    adjust_lr: Annotated[
        Literal["original", "match_rms_adamw"] | None, Must("original, match_rms_adamw or none")
    ] = "original"
    normalize_weights: Flag = False
    other: Annotated[OtherOptimizerConfig, Field(discriminator="type"), WithType("sgd")] = (
        SGDConfig()
    )

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> MuonConfig:
        if self.nesterov and self.momentum == 0:
            raise broken("nesterov requires a momentum above 0")
        return self


OTHER_OPTIMIZERS: dict[str, type[Frozen]] = {
    "sgd": SGDConfig,
    "adam": AdamConfig,
    "adamw": AdamWConfig,
}
OPTIMIZERS: dict[str, type[Frozen]] = OTHER_OPTIMIZERS | {"muon": MuonConfig}

OptimizerConfig = OtherOptimizerConfig | MuonConfig

AnyOptimizer = Annotated[OptimizerConfig, Field(discriminator="type"), WithType("sgd")]
