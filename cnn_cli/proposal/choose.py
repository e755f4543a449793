"""Choose network, image size, augmentation and number of epochs for a folder.

This module does not read, measure or write anything. Networks and settings are those of measured
configs: `small.yaml` and `fashion.yaml` for small images, `animals.yaml` for photographs.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Literal

from cnn_cli.proposal.survey import Survey

SMALL = 40  # pixels of the short side; larger images get the network for photographs
LEAST_SIDE = 8
PHOTO_SIDES = (128, 96, 64)
WIDEST = 3  # ratio of an image's sides
SQUARE = 1.6  # ratio up to which an image is cropped to a square
FEW = 1500  # images per class: strong augmentation
UNEVEN = 3  # ratio of the largest class to the smallest
STRONG_EPOCHS = 25  # fewer epochs are not enough for strong augmentation

START_SECONDS = 4.0  # before the first step: imports, listing the images, compiling kernels
USED = 0.92  # fraction of the budget; the rest is for checkpoints and other programs


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate network.

    Attributes:
        size: (height, width) of its images.
        kind: `plain`: convolutions and pooling; `residual`: as in He et al. 2015; `named`: a
            built-in network.
        widths: channels of the stages of the first two kinds.
        stem_stride: stride of a residual network's first convolution.
    """

    size: tuple[int, int]
    kind: Literal["plain", "residual", "named"]
    widths: tuple[int, ...] = ()
    stem_stride: int = 1


@dataclass(frozen=True, slots=True)
class Speed:
    """The measurements, in images per second.

    Attributes:
        training, prediction: of the network.
        decoding: of image files.
        augmenting: of decoded images.
        cpu_fraction: fraction of the cores' time that training got; other programs had the rest.
    """

    training: float
    prediction: float
    decoding: float
    augmenting: float
    cpu_fraction: float = 1.0


@dataclass(frozen=True, slots=True)
class Tuning:
    """How to fine-tune pretrained weights.

    Attributes:
        weights: their name, which is also the network's.
        head_epochs: epochs of the last layer alone, which come first.
        frozen: number of first layers with parameters that stay frozen while the upper ones are
            trained; 0 if only the last layer is trained.
    """

    weights: str
    head_epochs: int
    frozen: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen config, and the reasons.

    Attributes:
        network: the network.
        batch_size, epochs: of the training.
        strong: whether augmentation is strong.
        speed: measured speed of the network.
        epoch_seconds, seconds: estimated time of an epoch and of the training.
        fits: whether it fits the budget.
        limited: whether the budget limits the epochs; else their number is what is useful.
        tuning: how pretrained weights are fine-tuned; None for training from scratch.
    """

    network: Candidate
    batch_size: int
    epochs: int
    strong: bool
    speed: Speed
    epoch_seconds: float
    seconds: float
    fits: bool
    limited: bool
    tuning: Tuning | None = None


def networks(survey: Survey) -> list[Candidate]:
    """Return the networks that suit the images, slowest and most accurate first."""
    short = min(survey.width, survey.height)
    if short <= SMALL:
        size = _small_size(survey)
        return [
            Candidate(size, "plain", widths)
            for widths in ((64, 128, 256), (32, 64, 128), (16, 32, 64))
        ]
    widths, narrow = (32, 64, 128, 256), (16, 32, 64, 128)
    largest = min(PHOTO_SIDES[0], short // 8 * 8)
    found = []
    if largest < PHOTO_SIDES[1]:
        found.append(Candidate(_photo_size(survey, largest), "residual", widths))
    sides = sorted({largest, *(side for side in PHOTO_SIDES if side < largest)}, reverse=True)
    found += [Candidate(_photo_size(survey, side), "residual", widths, 2) for side in sides]
    return [*found, Candidate(_photo_size(survey, sides[-1]), "residual", narrow, 2)]


def aspect(survey: Survey) -> float:
    """Return width / height of the network's input, before rounding."""
    ratio = survey.width / survey.height
    if 1 / SQUARE <= ratio <= SQUARE:
        return 1.0
    return min(WIDEST, max(1 / WIDEST, ratio))


def is_squashed(survey: Survey) -> bool:
    """Whether keeping the aspect ratio would crop too much."""
    ratio = survey.width / survey.height
    return not 1 / WIDEST <= ratio <= WIDEST


def _small_size(survey: Survey) -> tuple[int, int]:
    short = max(LEAST_SIDE, min(survey.width, survey.height))
    ratio = aspect(survey)
    if survey.uniform and not is_squashed(survey) and short == min(survey.width, survey.height):
        return survey.height, survey.width
    return round(short * max(1.0, 1 / ratio)), round(short * max(1.0, ratio))


def _photo_size(survey: Survey, side: int) -> tuple[int, int]:
    """Return a size with as many pixels as a square of that side, in multiples of 8."""
    root = aspect(survey) ** 0.5
    return 8 * round(side / root / 8), 8 * round(side * root / 8)


def least_epochs(images: int) -> int:
    """Return the least useful number of epochs."""
    return 10 if images < 20_000 else 5 if images < 100_000 else 3


def most_epochs(images: int) -> int:
    """Return the largest useful number.

    The network of `animals.yaml`, trained with SGD on 3,200 images, was best after 70 epochs.
    """
    return max(30, min(200, 250_000 // images))


def enough_epochs(images: int) -> int:
    """Return the number of epochs below which a smaller network is better."""
    return most_epochs(images) // 2


def batch_size(images: int, network: Candidate) -> int:
    """Return a batch size that gives an epoch enough batches."""
    if images < 400:
        return 8 if images < 64 else 16
    if images < 2000:
        return 32
    return 128 if network.kind == "plain" and images > 20_000 else 64


def images_a_class(survey: Survey) -> float:
    """Return the median number of training images in a class."""
    return median(survey.train)


def is_uneven(survey: Survey) -> bool:
    """Whether to balance the classes; False with several labels per image."""
    return not survey.several and max(survey.train) > UNEVEN * min(survey.train)


def fit(survey: Survey, network: Candidate, speed: Speed, budget: float) -> Choice:
    """Choose the number of epochs of a network for a budget.

    Args:
        survey: the survey of the folder.
        network: one of `networks`.
        speed: its speed, with strong augmentation if that may be chosen.
        budget: in seconds.
    """
    train, val = survey.train_images, survey.val_images
    size = batch_size(train, network)
    epoch = train / speed.training + train / speed.augmenting + val / speed.prediction
    if size < 32:  # `train.precise_bn` reads images once more
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
