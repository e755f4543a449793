"""Which network, size, augmentation and number of epochs suit what a folder holds.

Nothing here reads, measures or writes. The networks and their settings are those of configs that
were measured: `small.yaml` and `fashion.yaml` for small pictures, `animals.yaml` for photographs.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Literal

from cnn_cli.proposal.survey import Survey

SMALL = 40  # pixels of the short side; larger pictures get the network for photographs
LEAST_SIDE = 8
PHOTO_SIDES = (128, 96, 64)
WIDEST = 3  # of a picture's sides, the one to the other
SQUARE = 1.6  # up to which a picture is cut to a square
FEW = 1500  # images a class: strong augmentation
UNEVEN = 3  # the largest class to the smallest
STRONG_EPOCHS = 25  # fewer leave no time to learn from images that are changed so much

START_SECONDS = 4.0  # until the first step: imports, the list of images, compiled kernels
USED = 0.92  # of the budget: checkpoints, and what else the computer does


@dataclass(frozen=True, slots=True)
class Network:
    """One to choose.

    Attributes:
        size: (height, width) of its images.
        kind: `plain`: convolutions and pooling; `residual`: as in He et al. 2015; `named`: one
            that comes along.
        widths: channels of the stages of the first two.
        stem_stride: of a residual network's first convolution.
    """

    size: tuple[int, int]
    kind: Literal["plain", "residual", "named"]
    widths: tuple[int, ...] = ()
    stem_stride: int = 1


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured, in images a second.

    Attributes:
        training, prediction: of the network.
        decoding: image files.
        augmenting: images that are decoded.
        cpu_fraction: of the cores' time, that the training got; other programs had the rest.
    """

    training: float
    prediction: float
    decoding: float
    augmenting: float
    cpu_fraction: float = 1.0


@dataclass(frozen=True, slots=True)
class Tuning:
    """How trained weights are trained on.

    Attributes:
        weights: their name, which is the network's too.
        head_epochs: of the last layer alone, which come first.
        frozen: how many of the first layers with parameters stay as they are when the upper ones
            are trained; 0 where the last layer alone is trained.
    """

    weights: str
    head_epochs: int
    frozen: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """What the config says, and why.

    Attributes:
        network: chosen.
        batch_size, epochs: of the training.
        strong: whether images are changed a lot.
        speed: of that network.
        epoch_seconds, seconds: of an epoch and of all of it, by what was measured.
        fits: whether that is within the budget.
        limited: whether the budget says how many epochs; else there are as many as are useful.
        tuning: of trained weights; None where the training starts from nothing.
    """

    network: Network
    batch_size: int
    epochs: int
    strong: bool
    speed: Speed
    epoch_seconds: float
    seconds: float
    fits: bool
    limited: bool
    tuning: Tuning | None = None


def networks(survey: Survey) -> list[Network]:
    """Those that suit the pictures, the best one that may take long first."""
    short = min(survey.width, survey.height)
    if short <= SMALL:
        size = _small_size(survey)
        return [
            Network(size, "plain", widths)
            for widths in ((64, 128, 256), (32, 64, 128), (16, 32, 64))
        ]
    widths, narrow = (32, 64, 128, 256), (16, 32, 64, 128)
    largest = min(PHOTO_SIDES[0], short // 8 * 8)
    found = []
    if largest < PHOTO_SIDES[1]:
        found.append(Network(_photo_size(survey, largest), "residual", widths))
    sides = sorted({largest, *(side for side in PHOTO_SIDES if side < largest)}, reverse=True)
    found += [Network(_photo_size(survey, side), "residual", widths, 2) for side in sides]
    return [*found, Network(_photo_size(survey, sides[-1]), "residual", narrow, 2)]


def aspect(survey: Survey) -> float:
    """Width / height of the images that the network gets, before they are rounded."""
    ratio = survey.width / survey.height
    if 1 / SQUARE <= ratio <= SQUARE:
        return 1.0
    return min(WIDEST, max(1 / WIDEST, ratio))


def is_squashed(survey: Survey) -> bool:
    """Whether too much would be cut off to keep the ratio of the sides."""
    ratio = survey.width / survey.height
    return not 1 / WIDEST <= ratio <= WIDEST


def _small_size(survey: Survey) -> tuple[int, int]:
    short = max(LEAST_SIDE, min(survey.width, survey.height))
    ratio = aspect(survey)
    if survey.uniform and not is_squashed(survey) and short == min(survey.width, survey.height):
        return survey.height, survey.width
    return round(short * max(1.0, 1 / ratio)), round(short * max(1.0, ratio))


def _photo_size(survey: Survey, side: int) -> tuple[int, int]:
    """As many pixels as a square of that side has, in multiples of 8."""
    root = aspect(survey) ** 0.5
    return 8 * round(side / root / 8), 8 * round(side * root / 8)


def least_epochs(images: int) -> int:
    """Fewer would teach nothing."""
    return 10 if images < 20_000 else 5 if images < 100_000 else 3


def most_epochs(images: int) -> int:
    """More would teach nothing: `animals.yaml` reached its best after 70 epochs of 3,200 images."""
    return max(30, min(200, 250_000 // images))


def enough_epochs(images: int) -> int:
    """With fewer a smaller network is the better one."""
    return most_epochs(images) // 2


def batch_size(images: int, network: Network) -> int:
    """Of which an epoch has enough."""
    if images < 400:
        return 8 if images < 64 else 16
    if images < 2000:
        return 32
    return 128 if network.kind == "plain" and images > 20_000 else 64


def images_a_class(survey: Survey) -> float:
    return median(survey.train)


def is_uneven(survey: Survey) -> bool:
    """Whether an epoch should take as many images of each class; one of several has no class."""
    return not survey.several and max(survey.train) > UNEVEN * min(survey.train)


def fit(survey: Survey, network: Network, speed: Speed, budget: float) -> Choice:
    """The epochs of a network that fit a budget.

    Args:
        survey: of the folder.
        network: one of `networks`.
        speed: of it, with strong augmentation where that may be wanted.
        budget: in seconds.
    """
    train, val = survey.train_images, survey.val_images
    size = batch_size(train, network)
    epoch = train / speed.training + train / speed.augmenting + val / speed.prediction
    if size < 32:  # `train.precise_bn` looks at images once more
        again = min(train, 2048)
        epoch += again / speed.prediction + again / speed.augmenting
    first = START_SECONDS + (train + val) / speed.decoding
    possible = int((USED * budget - first) / epoch)
    least, most = least_epochs(train), most_epochs(train)
    epochs = max(least, min(most, possible))
    return Choice(
        network=network,
        batch_size=size,
        epochs=epochs,
        strong=images_a_class(survey) < FEW and epochs >= STRONG_EPOCHS,
        speed=speed,
        epoch_seconds=epoch,
        seconds=first + epochs * epoch,
        fits=possible >= least,
        limited=possible < most,
    )
