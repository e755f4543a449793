"""Whether trained weights suit what a folder holds, and how far they are trained on.

Nothing here reads, measures or writes.
"""

from __future__ import annotations

from cnn_cli.proposal.choose import (
    START_SECONDS,
    USED,
    Choice,
    Network,
    Speed,
    Tuning,
    images_a_class,
)
from cnn_cli.proposal.survey import Survey

LEAST_SIDE = 64  # pixels; smaller pictures have nothing that such networks look for
MOST_FLAT = 0.3  # share of neighbouring pixels that are the same: drawings and text have more
BATCH_SIZE = 32  # of few images too: at this rate, batches of 4 reached 0.970, not 0.976
HEAD_EPOCHS = (5, 20)  # least, and most: of few images
HEAD_SEEN = 2000  # images, in all epochs of the last layer
HEAD_RATE = 3000.0  # images a second of the last layer alone, on features: hardly any time
FEW = 50  # images a class: the last layer alone is trained
LEAST_EPOCHS = 3  # of the upper layers
SEEN = 60_000  # images, in all epochs of the upper layers


def suits(survey: Survey) -> bool:
    """Whether the pictures are such as the weights were trained on: photographs in colour."""
    side = min(survey.width, survey.height)
    in_colour = survey.is_plain and not survey.grey
    return in_colour and side >= LEAST_SIDE and survey.flat <= MOST_FLAT


def head_alone(survey: Survey, weights: str, side: int, speed: Speed, budget: float) -> Choice:
    """Train the last layer alone, on what the other layers make of each picture once.

    Args:
        weights: their name.
        side: of the network's images.
        speed: of the network, on those.
        budget: in seconds.
    """
    train, val = survey.train_images, survey.val_images
    first = START_SECONDS + train / speed.prediction + (train + val) / speed.decoding
    epoch = train / HEAD_RATE + val / speed.prediction
    epochs = head_epochs(train)
    seconds = first + epochs * epoch
    return Choice(
        network=Network((side, side), "named"),
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
    """Train the upper layers as well, on changed pictures, where there is time and need for it.

    Args:
        head: of `head_alone`.
        frozen: how many of the first layers with parameters stay as they are.
        speed: of the training above these.
        budget: in seconds.

    Returns:
        `head` where there is not.
    """
    train, val = survey.train_images, survey.val_images
    epoch = train / speed.training + train / speed.augmenting + val / speed.prediction
    # The pictures are decoded once more: what is kept of them is larger.
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
    """Of the last layer alone: of 32 photographs 5 epochs reached 0.935 of 419 others, 20 0.973."""
    least, most = HEAD_EPOCHS
    return max(least, min(most, HEAD_SEEN // images))
