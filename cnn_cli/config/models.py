"""The config's sections: every key with its default and what is allowed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from cnn_cli.config.augment import AugmentConfig
from cnn_cli.config.fields import (
    Above0,
    Count,
    Flag,
    Frozen,
    NotBelow0,
    Number,
    Pair,
    Seed,
    Share,
    ShareBelow1,
    Whole,
    broken,
    must,
    unavailable,
)
from cnn_cli.config.layers import AnyLayer

Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$"), must("a text")]
Auto = Literal["auto"]


def _none_is_a_word(value: Any) -> Any:
    """`none` reads as null, and here it is one of the words."""
    return "none" if value is None else value


def _one_for_all(value: Any) -> Any:
    """A lone number is the value of every channel."""
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


def _grey_or_colour(value: int) -> int:
    if value not in (1, 3):
        raise broken("must be 1 or 3")
    return value


def _word_is_type(value: Any) -> Any:
    """`adam` is short for `{type: adam}`."""
    return {"type": value} if isinstance(value, str) else value


class DataConfig(Frozen):
    """Where the images are and how each becomes an array."""

    root: Text | None = None
    val_split: ShareBelow1 = 0.1
    classes: Annotated[
        tuple[Annotated[str, Field(strict=True, min_length=1)], ...] | None,
        must("a list of class names"),
    ] = None
    image_size: Pair = (224, 224)
    channels: Annotated[
        int, Field(strict=True), AfterValidator(_grey_or_colour), must("1 or 3")
    ] = 3
    resize_mode: Annotated[
        Literal["crop", "squash", "letterbox"], must("crop, squash or letterbox")
    ] = "crop"
    mean: Annotated[
        Auto | tuple[Number, ...],
        BeforeValidator(_one_for_all),
        must("auto, or a list of numbers, one per channel"),
    ] = "auto"
    std: Annotated[
        Auto | tuple[Above0, ...],
        BeforeValidator(_one_for_all),
        must("auto, or a list of numbers above 0, one per channel"),
    ] = "auto"
    on_corrupt: Annotated[Literal["skip", "error"], must("skip or error")] = "skip"
    cache: Annotated[
        Literal["auto", "ram", "disk", "none"],
        BeforeValidator(_none_is_a_word),
        must("auto, ram, disk or none"),
    ] = "auto"

    @model_validator(mode="after")
    def _one_value_per_channel(self) -> DataConfig:
        for key in ("mean", "std"):
            value = getattr(self, key)
            if value != "auto" and len(value) != self.channels:
                raise broken(f"{key} must have one number per channel, {self.channels}")
        if self.classes is not None and len(set(self.classes)) < max(2, len(self.classes)):
            raise broken("classes must be two or more different names")
        return self


class ModelConfig(Frozen):
    """The network, from the image to the scores.

    Attributes:
        init: how weights start: as PyTorch's defaults do, or He et al. 2015 (`kaiming`).
    """

    layers: Annotated[tuple[AnyLayer, ...], Field(min_length=1)]
    init: Annotated[Literal["pytorch", "kaiming"], must("pytorch or kaiming")] = "pytorch"


class SGDConfig(Frozen):
    """Stochastic gradient descent (as torch.optim.SGD)."""

    type: Literal["sgd"] = "sgd"
    lr: NotBelow0 = 0.1
    momentum: ShareBelow1 = 0.9
    nesterov: Flag = True
    weight_decay: NotBelow0 = 5e-4

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
    lr: NotBelow0 = 1e-3
    betas: Annotated[
        tuple[ShareBelow1, ShareBelow1], must("two numbers from 0 up to, but not, 1")
    ] = (0.9, 0.999)
    eps: NotBelow0 = 1e-8


class AdamConfig(_AdamConfig):
    """Adam (Kingma and Ba 2015; weight decay as an L2 term, as torch.optim.Adam)."""

    type: Literal["adam"] = "adam"
    weight_decay: NotBelow0 = 0.0


class AdamWConfig(_AdamConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    type: Literal["adamw"] = "adamw"
    weight_decay: NotBelow0 = 0.01


class _ScheduleConfig(Frozen):
    """Every schedule may start with a linear warm-up, in epochs (parts of one allowed)."""

    warmup_epochs: NotBelow0 = 0.0


class ConstantConfig(_ScheduleConfig):
    """The same rate throughout."""

    type: Literal["constant"] = "constant"


class StepConfig(_ScheduleConfig):
    """The rate times gamma every step_size epochs."""

    type: Literal["step"] = "step"
    step_size: Count
    gamma: Share = 0.1


class MultiStepConfig(_ScheduleConfig):
    """The rate times gamma at each epoch of milestones."""

    type: Literal["multistep"] = "multistep"
    milestones: Annotated[tuple[Count, ...], must("a list of whole numbers above 0")]
    gamma: Share = 0.1


class CosineConfig(_ScheduleConfig):
    """Down to min_lr along half a cosine (Loshchilov and Hutter 2017)."""

    type: Literal["cosine"] = "cosine"
    warmup_epochs: NotBelow0 = 1.0
    min_lr: NotBelow0 = 0.0


OPTIMIZERS: dict[str, type[Frozen]] = {"sgd": SGDConfig, "adam": AdamConfig, "adamw": AdamWConfig}
SCHEDULERS: dict[str, type[Frozen]] = {
    "constant": ConstantConfig,
    "step": StepConfig,
    "multistep": MultiStepConfig,
    "cosine": CosineConfig,
}

OptimizerConfig = SGDConfig | AdamConfig | AdamWConfig
SchedulerConfig = ConstantConfig | StepConfig | MultiStepConfig | CosineConfig


def _with_type(default: str) -> BeforeValidator:
    """A mapping without `type` means the default one."""

    def fill(value: Any) -> Any:
        value = _word_is_type(value)
        return {"type": default} | value if isinstance(value, dict) else value

    return BeforeValidator(fill)


class TrainConfig(Frozen):
    """How the network is trained."""

    epochs: Whole = 10
    batch_size: Count = 64
    seed: Seed = 0
    dtype: Annotated[Literal["float32", "float64"], must("float32 or float64")] = "float32"
    optimizer: Annotated[OptimizerConfig, Field(discriminator="type"), _with_type("sgd")] = (
        SGDConfig()
    )
    scheduler: Annotated[SchedulerConfig, Field(discriminator="type"), _with_type("cosine")] = (
        CosineConfig()
    )
    label_smoothing: Share = 0.0
    class_weights: Annotated[
        Literal["balanced"] | tuple[NotBelow0, ...] | None,
        must("none, balanced, or a list of numbers, one per class"),
    ] = None
    clip_grad_norm: Above0 | None = None
    ema: Annotated[None, BeforeValidator(unavailable)] = None
    early_stop: Count | None = None
    precise_bn: Annotated[Auto | Flag, must("auto, true or false")] = "auto"
    checkpoint_every: Count | None = None
    on_nan: Annotated[Literal["stop", "rollback"], must("stop or rollback")] = "stop"


class Config(Frozen):
    """A whole config file."""

    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig
    train: TrainConfig = TrainConfig()

    @model_validator(mode="before")
    @classmethod
    def _empty_section(cls, value: Any) -> Any:
        """A section with no key under it has its defaults."""
        if isinstance(value, dict):
            return {key: {} if part is None else part for key, part in value.items()}
        return value

    @model_validator(mode="after")
    def _augmentation_fits(self) -> Config:
        self.augment.check_fits(self.data.image_size, self.data.channels)
        return self
