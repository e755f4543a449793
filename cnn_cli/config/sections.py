"""The config's sections: every key with its default and what is allowed."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    PrivateAttr,
    TypeAdapter,
    WithJsonSchema,
    model_validator,
)

from cnn_cli.config.layers import AnyLayer
from cnn_cli.config.places import Places
from cnn_cli.data.depth import Depth
from cnn_cli.data.folds import Fold
from cnn_cli.data.image_store import CacheMode
from cnn_cli.data.label_list import SEPARATOR
from cnn_cli.data.label_table import ColumnsConfig
from cnn_cli.data.preprocess import Preprocess, ResizeMode
from cnn_cli.data.progressive_resizing import ProgressiveResizing
from cnn_cli.data.sampling import Sampler
from cnn_cli.data.targets import NONE
from cnn_cli.errors import listed
from cnn_cli.metric_names import TOP1, Metric, find_metric
from cnn_cli.nn.losses import AnyLoss
from cnn_cli.nn.losses.cross_entropy import CrossEntropyConfig
from cnn_cli.optim.averages import LookaheadConfig
from cnn_cli.optim.groups import GroupRules
from cnn_cli.optim.optimizers import AnyOptimizer
from cnn_cli.optim.optimizers.sgd import SGDConfig
from cnn_cli.optim.schedule import AnyScheduler, CosineConfig, PlateauConfig
from cnn_cli.schema.fields import (
    Above0,
    Also,
    Count,
    Flag,
    Frozen,
    Monitor,
    Must,
    NotBelow0,
    Number,
    Pair,
    PartAbove0,
    Seed,
    Share,
    ShareBelow1,
    Whole,
    broken,
)

SMALL_BATCH = 32  # too few images for good running statistics


def _any_name(value: Any) -> Any:
    """Accept names that are not valid UTF-8, which pydantic's strings refuse."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return value


PathText = Annotated[
    str,
    PlainValidator(_any_name),
    WithJsonSchema({"type": "string", "minLength": 1, "pattern": r"^[^\x00]*$"}),
    Must("a string"),
]
Auto = Literal["auto"]


def _none_is_a_word(value: Any) -> Any:
    """Convert null to `none`, which is one of the words here."""
    return "none" if value is None else value


def _one_for_all(value: Any) -> Any:
    """Use a single number for every channel."""
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


def _with_a_group(value: Any) -> Any:
    try:
        if isinstance(value, str) and re.compile(value).groups:
            return value
    except (re.error, RecursionError, OverflowError):
        pass
    raise ValueError


def _fold(value: str) -> str:
    if Fold.parse(value) is None:
        raise ValueError
    return value


class DataConfig(Frozen):
    """The images, and how each becomes an array.

    Attributes:
        root: the images, relative to the config's folder: a folder with one folder per class, or
            with such folders in train/, val/ and test/; a label list (.csv, .tsv, .txt); an
            archive of such folders (.zip, .tar, .tar.gz) or of samples (WebDataset shards, such
            as s-{00..12}.tar).
        columns: the headers of a label list's columns, if they are not recognized.
        labels: `single`, or `multiple` for images with several labels or none: a label list has
            them as cat|dog, or as a column of 0 and 1 per label.
        label_sep: separator of several labels.
        val_split: fraction of each class's images held back for validation if there is no val/.
        test_split: the same for testing, if there is no test/; some images always remain for
            training.
        group: a regular expression, searched in each image's path below root. Images with the
            same first group, such as a patient or a film, are held back together.
        fold: validate on this fold of all images except test/, such as 2/5; `cnn train --folds`
            sets it.
        classes: names of the class folders to use, in order; by default all.
        image_size: height and width of the network's input.
        channels: 3 (color) or 1 (grayscale); any other number expects images with that many
            bands.
        depth: bits per number, 8 or 16; `float` takes any number unchanged.
        resize_mode: how an image is brought to that size: `crop` takes its center, `squash`
            stretches all of it, `letterbox` keeps the aspect ratio and adds borders.
        mean, std: per channel, of pixels scaled to 0..1 (not scaled if `depth` is `float`); the
            network's input is (pixel - mean) / std. `auto` measures the training images.
        on_corrupt: `skip` leaves out and lists images that cannot be read, `error` stops.
        sampler: `shuffle` takes each training image once per epoch; `balanced` takes as many
            images, with equal shares of the classes.
        shards: number of parts into which the training images are dealt at random; every batch
            takes its share of each, so that each of that many machines reads only one part.
        cache: where decoded images are kept; `auto` keeps them in memory if they need at most
            half of what is free, else on disk.
    """

    root: PathText | None = None
    columns: ColumnsConfig = ColumnsConfig()
    labels: Annotated[Literal["single", "multiple"], Must("single or multiple")] = "single"
    label_sep: Annotated[
        Annotated[str, Field(strict=True, min_length=1)], Must("a separator, such as '|'")
    ] = SEPARATOR
    val_split: ShareBelow1 = 0.1
    test_split: ShareBelow1 = 0.0
    group: Annotated[
        Annotated[
            str,
            PlainValidator(_with_a_group),
            WithJsonSchema({"type": "string", "format": "regex"}),
        ]
        | None,
        Must("a regular expression with a group, as '^([^/_]+)_'"),
    ] = None
    fold: Annotated[
        Annotated[
            str,
            AfterValidator(_fold),
            Field(strict=True, json_schema_extra={"pattern": "^[1-9][0-9]*/[1-9][0-9]*$"}),
        ]
        | None,
        Must("one of 2 to 1000 folds, as 2/5"),
    ] = None
    classes: Annotated[
        Annotated[
            tuple[Annotated[str, Field(strict=True, min_length=1)], ...],
            Field(json_schema_extra={"minItems": 2, "uniqueItems": True}),
        ]
        | None,
        Must("a list of class names"),
    ] = None
    image_size: Pair = (224, 224)
    channels: Count = 3
    depth: Annotated[Depth, Must("8, 16 or float")] = 8
    resize_mode: Annotated[ResizeMode, Must(listed(get_args(ResizeMode), last=" or "))] = "crop"
    mean: Annotated[
        Auto | tuple[Number, ...],
        Also(_one_for_all, lambda either: either["anyOf"][1]["items"]),
        Must("auto, or a list of numbers, one per channel"),
    ] = "auto"
    std: Annotated[
        Auto | tuple[Above0, ...],
        Also(_one_for_all, lambda either: either["anyOf"][1]["items"]),
        Must("auto, or a list of numbers above 0, one per channel"),
    ] = "auto"
    on_corrupt: Annotated[Literal["skip", "error"], Must("skip or error")] = "skip"
    sampler: Annotated[Sampler, Must(listed(get_args(Sampler), last=" or "))] = "shuffle"
    shards: Count = 1
    cache: Annotated[
        CacheMode,
        Also(_none_is_a_word, lambda _: {"type": "null"}),
        Must(listed(get_args(CacheMode), last=" or ")),
    ] = "auto"

    @property
    def preprocess(self) -> Preprocess:
        """How an image becomes the network's input."""
        return Preprocess(*self.image_size, self.channels, self.resize_mode, self.depth)

    @property
    def separator(self) -> str | None:
        """The separator of an image's labels; None if each image has one."""
        return self.label_sep if self.labels == "multiple" else None

    @model_validator(mode="after")
    def _keys_fit(self) -> DataConfig:
        for key in ("mean", "std"):
            value = getattr(self, key)
            if value != "auto" and len(value) != self.channels:
                raise broken(f"{key} must have one number per channel, {self.channels}")
        if self.val_split + self.test_split >= 1:
            raise broken("val_split and test_split must be below 1 together")
        if self.labels == "multiple":
            if NONE in (self.classes or ()):
                raise broken(f"classes must not be named {NONE}, which means no label")
            if self.sampler != "shuffle":
                raise broken("sampler must be shuffle if images have several labels")
        if self.classes is not None and len(set(self.classes)) < max(2, len(self.classes)):
            raise broken("classes must be two or more different names")
        return self


class ModelConfig(Frozen):
    """The network, from the image to the scores.

    Attributes:
        layers: the network, one layer after the other.
        init: initial weights: PyTorch's defaults (`pytorch`), or He et al. 2015 (`kaiming`).
    """

    layers: Annotated[tuple[AnyLayer, ...], Field(min_length=1)]
    init: Annotated[Literal["pytorch", "kaiming"], Must("pytorch or kaiming")] = "pytorch"
    _places: Places = PrivateAttr(default_factory=Places)

    @property
    def places(self) -> Places:
        """Where the layers are written, for messages."""
        return self._places

    def stand_at(self, places: Places) -> None:
        """Store where the layers are written."""
        self._places = places


# A pattern for parameter names, as in fnmatch: `stem.weight`, `*.bias`, `batchnorm.bias`.
Pattern = Annotated[str, Field(min_length=1), Must("a parameter's name")]
_NAMES = TypeAdapter(list[Pattern])
_EPOCHS = TypeAdapter(dict[Pattern, Whole])


def _mapping(value: Any) -> Any:
    """Let the entries of a mapping report their own errors."""
    if not isinstance(value, dict):
        raise broken("must be a mapping of parameters' names to numbers, 0 or more")
    return value


def _count_or_epochs(value: Any) -> Any:
    """Accept a number of layers, or names with epochs; names alone are frozen from the start."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        return dict.fromkeys(_NAMES.validate_python(value), 0)
    if isinstance(value, dict):
        return _EPOCHS.validate_python(value)
    if type(value) is int and value >= 0:  # true and false are not numbers of layers
        return value
    raise broken(
        "must be a number of layers, a list of parameters' names, or a mapping of them to whole "
        "numbers of epochs"
    )


Factors = Annotated[dict[Pattern, NotBelow0], BeforeValidator(_mapping)]
_PLAIN_NAMES = {"type": ["string", "array"], "items": {"type": "string", "minLength": 1}}
Freeze = Annotated[Whole | dict[Pattern, Whole], Also(_count_or_epochs, lambda _: _PLAIN_NAMES)]


class HeadConfig(Frozen):
    """First train the last layer alone, then the rest (Kumar et al. 2022, LP-FT).

    The last layer is the one whose size is the number of classes. During these epochs images
    are not augmented, so that the output of the other layers is computed once.

    Attributes:
        epochs: number of epochs at the start; `train.scheduler` begins after them.
        lr: learning rate, which falls to 0 along half a cosine.
    """

    epochs: Count = 5
    lr: Above0 = 0.01


class TrainConfig(Frozen):
    """How the network is trained.

    `lr_factors`, `weight_decay_factors` and `freeze` address parameters by patterns, of their
    own names or of their layers' kinds (`batchnorm.bias`); if several match, the last one
    counts.

    Attributes:
        weights: initial weights: a checkpoint or a run folder, relative to the config's folder,
            or the name of installed weights, such as efficientnet-lite0; by default random.
        epochs: number of passes over the training images.
        batch_size: images per gradient.
        accumulate: batches per update, as if they were one batch of that many times the images,
            except for batchnorm's statistics. Schedules and averages count updates.
        seed: seed of everything random.
        dtype: data type of weights and activations.
        optimizer: how weights are updated; a word is its `type`.
        lr_factors: factors of the learning rate of some parameters.
        layer_decay: factor of the learning rate from each block of the network to the block below,
            as in BEiT and timm; the last layer has the full rate.
        weight_decay_factors: factors of the weight decay of some parameters. Weight decay is
            multiplied by the learning rate, as in PyTorch: if you change a rate factor and want to
            keep the decay, put the inverse here.
        freeze: parameters, with the number of epochs after which they no longer change; 0 is from
            the start. A number instead of names freezes the first so many layers with parameters.
            A batchnorm layer that is frozen as a whole uses its running statistics and leaves
            them unchanged.
        head: train the last layer alone in the first epochs.
        progressive_resizing: smaller training images in the first epochs; `true` for the defaults.
        scheduler: how the learning rate changes; a word is its `type`.
        loss: what is minimized; a word is its `type`. By default cross_entropy, or bce if
            data.labels is multiple; validation always measures that default.
        label_smoothing: fraction of each label that is spread over all classes.
        class_weights: weights of the classes in the loss: one number per class, or `balanced`,
            inversely proportional to the number of images. With the loss bce, or if
            data.labels is multiple, they weight the labels that an image has, like PyTorch's
            pos_weight; `balanced` with several labels gives the positive and the negative labels
            of a class the same total weight.
        clip_grad_norm: largest norm of the gradient of all parameters together; longer ones are
            scaled.
        ema: decay of an exponential moving average of the weights, like timm's ModelEmaV2. The
            average, with its running statistics, is evaluated and saved as the best.
        lookahead: slow weights that follow the trained ones (Zhang et al. 2019); they are evaluated
            and saved as the best.
        monitor: the validation metric that decides which epoch is the best and is saved as
            `best.npz`; ties go to the lower loss. `early_stop` and the schedule `plateau` follow
            it. The default is average_precision if data.labels is multiple.
        keep: whose weights are saved as `best.npz`: those of the best epoch (`best`), or of the
            `last` one, which suits schedules that end near 0. The last epoch's validation metrics
            are not the best of many, which are slightly too high.
        early_stop: number of epochs without improvement after which training ends.
        patience: another name for `early_stop`.
        precise_bn: measure batchnorm's statistics again before each validation; `auto` does it
            for batches below 32 images.
        recompute: compute part of the activations a second time instead of keeping them: less
            memory for networks with batchnorm, up to a third more time, the same result. `auto`
            does it if the training would not fit in memory otherwise.
        processes: number of processes of this computer that share every batch, each with its part
            of the cores; the result is the same as with as many threads. `auto` takes one for each
            core, or fewer if they would not fit in memory. Needs Linux; elsewhere one process
            trains, with threads.
        checkpoint_every: steps between checkpoints within an epoch.
        on_nan: if the loss, a gradient or a weight is not finite, `stop`, or `rollback` to the
            last checkpoint with half the learning rate.
        tensorboard: write the metrics, training images and confusion matrices into the run folder
            for TensorBoard; needs the extra tensorboard.
    """

    weights: PathText | None = None
    epochs: Whole = 10
    batch_size: Count = 64
    accumulate: Count = 1
    seed: Seed = 0
    dtype: Annotated[Literal["float32", "float64"], Must("float32 or float64")] = "float32"
    optimizer: AnyOptimizer = SGDConfig()
    lr_factors: Factors = Field(default_factory=dict)
    layer_decay: PartAbove0 = 1.0
    weight_decay_factors: Factors = Field(default_factory=dict)
    freeze: Freeze = Field(default_factory=dict)
    head: HeadConfig | None = None
    progressive_resizing: ProgressiveResizing = None
    scheduler: AnyScheduler = CosineConfig()
    loss: AnyLoss = CrossEntropyConfig()
    label_smoothing: Share = 0.0
    class_weights: Annotated[
        Literal["balanced"] | tuple[NotBelow0, ...] | None,
        Must("none, balanced, or a list of numbers, one per class"),
    ] = None
    clip_grad_norm: Above0 | None = None
    ema: ShareBelow1 | None = None
    lookahead: LookaheadConfig | None = None
    monitor: Monitor = TOP1.name
    keep: Annotated[Literal["best", "last"], Must("best or last")] = "best"
    early_stop: Count | None = None
    patience: Count | None = None
    precise_bn: Annotated[Auto | Flag, Must("auto, true or false")] = "auto"
    recompute: Annotated[Auto | Flag, Must("auto, true or false")] = "auto"
    processes: Annotated[
        Auto | Annotated[int, Field(strict=True, gt=0, le=1024)],
        Must("auto, or a whole number from 1 to 1024"),
    ] = 1
    checkpoint_every: Count | None = None
    on_nan: Annotated[Literal["stop", "rollback"], Must("stop or rollback")] = "stop"
    tensorboard: Flag = False

    @property
    def rules(self) -> GroupRules:
        """The keys that determine parameter groups."""
        return GroupRules(
            self.optimizer,
            self.lr_factors,
            self.layer_decay,
            self.weight_decay_factors,
            self.freeze,
        )

    @property
    def estimates_statistics(self) -> bool:
        """Whether `precise_bn` asks for it; `auto` does for batches below 32 images."""
        return self.batch_size < SMALL_BATCH if self.precise_bn == "auto" else self.precise_bn

    @property
    def head_epochs(self) -> int:
        """The number of first epochs that train the last layer alone."""
        return 0 if self.head is None else min(self.head.epochs, self.epochs)

    @model_validator(mode="after")
    def _one_average(self) -> TrainConfig:
        if self.ema is not None and self.lookahead is not None:
            raise broken("ema and lookahead leave no room for each other: one of them")
        return self

    @model_validator(mode="after")
    def _one_name(self) -> TrainConfig:
        """Copy `patience` to `early_stop`."""
        if self.patience is not None:
            if self.early_stop is not None:
                raise broken("early_stop and patience are the same: one of them")
            self._set(early_stop=self.patience, patience=None)
        if self.early_stop is not None and self.keeps_last:
            raise broken("early_stop ends later than the best epoch: keep must be best")
        return self

    @model_validator(mode="after")
    def _plateau_follows(self) -> TrainConfig:
        """Let `plateau` monitor the requested metric, else the loss, as in PyTorch."""
        if isinstance(self.scheduler, PlateauConfig) and self.scheduler.monitor is None:
            monitor = self.monitor if "monitor" in self.model_fields_set else "loss"
            self._set(scheduler=self.scheduler.model_copy(update={"monitor": monitor}))
        return self

    def _set(self, **values: Any) -> None:
        """Set values that follow from other keys."""
        for key, value in values.items():
            object.__setattr__(self, key, value)

    @property
    def keeps_last(self) -> bool:
        """Whether `best.npz` has the last epoch's weights."""
        return self.keep == "last"

    @property
    def monitored(self) -> Metric:
        return find_metric(self.monitor) or TOP1
