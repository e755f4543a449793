"""Decide whether pretrained weights suit a folder, and how much of them to fine-tune.

This module does not read, measure or write anything.
"""

from __future__ import annotations

from cnn_cli.proposal.choose import (
    START_SECONDS,
    USED,
    Candidate,
    Choice,
    Speed,
    Tuning,
    images_a_class,
)
from cnn_cli.proposal.survey import Survey

LEAST_SIDE = 64  # pixels; smaller images lack the details that such networks need
MOST_FLAT = 0.3  # fraction of equal neighboring pixels: drawings and text have more
BATCH_SIZE = 32
HEAD_EPOCHS = (5, 20)  # smallest, for many images, and largest
HEAD_SEEN = 64_000  # images, in all epochs of the last layer
HEAD_RATE = 3000.0  # images per second for the last layer alone, on features
FEW = 50  # images per class: only the last layer is trained
LEAST_EPOCHS = 3  # of the upper layers
SEEN = 60_000  # images, in all epochs of the upper layers


def suits(survey: Survey) -> bool:
    """Whether the images resemble those of the weights' training: color photographs."""
    side = min(survey.width, survey.height)
    in_color = survey.is_plain and not survey.gray
    return in_color and side >= LEAST_SIDE and survey.flat <= MOST_FLAT


def head_alone(survey: Survey, weights: str, side: int, speed: Speed, budget: float) -> Choice:
    """Train the last layer alone, on features that are computed once per image.

    Args:
        survey: the survey of the folder.
        weights: name of the weights.
        side: side of the network's input.
        speed: speed of the network at that size.
        budget: in seconds.
    """
    train, val = survey.train_images, survey.val_images
    images = train + val
    first = START_SECONDS + images / speed.prediction + images / speed.decoding
    epoch = images / HEAD_RATE
    epochs = head_epochs(train)
    seconds = first + epochs * epoch
    return Choice(
        network=Candidate((side, side), "named"),
        batch_size=BATCH_SIZE,
        epochs=epochs,
        strong=False,
        speed=speed,
        epoch_seconds=epoch,
        seconds=seconds,
        fits=seconds <= USED * budget,
        limited=False,
        tuning=Tuning(weights, epochs),
    )


def upper_layers(survey: Survey, head: Choice, frozen: int, speed: Speed, budget: float) -> Choice:
    """Train the upper layers as well, on augmented images, if time allows and it helps.

    Args:
        survey: the survey of the folder.
        head: the result of `head_alone`.
        frozen: number of first layers with parameters that stay frozen.
        speed: speed of training the other layers.
        budget: in seconds.

    Returns:
        `head` if time does not allow it.
    """
    train, val = survey.train_images, survey.val_images
    epoch = train / speed.training + train / speed.augmenting + val / speed.prediction
    # The images are decoded again, because the cached ones are larger.
    first = head.seconds + train / speed.decoding
    most = max(LEAST_EPOCHS, min(30, SEEN // train))
    possible = int((USED * budget - first) / epoch)
    if possible < LEAST_EPOCHS or images_a_class(survey) < FEW or head.tuning is None:
        return head
    epochs = min(possible, most)
    return Choice(
        network=head.network,
        batch_size=head.batch_size,
        epochs=head.epochs + epochs,
        strong=False,
        speed=speed,
        epoch_seconds=epoch,
        seconds=first + epochs * epoch,
        fits=True,
        limited=possible < most,
        tuning=Tuning(head.tuning.weights, head.epochs, frozen),
    )


def head_epochs(images: int) -> int:
    """Return the epochs of the last layer alone, which cost little beside computing the features.

    With 16, 32, 200 and 2,556 photographs, 20 epochs had a lower loss on others than 5 and 10:
    `tests/benchmarks/last_layer.py`.
    """
    least, most = HEAD_EPOCHS
    return max(least, min(most, HEAD_SEEN // images))
