"""The training images of an epoch as the network receives them, for `cnn data preview`."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from cnn_cli.config import Config
from cnn_cli.data.depth import Pixels
from cnn_cli.data.normalization import Normalization
from cnn_cli.data.targets import numbers_of
from cnn_cli.errors import none_readable
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.mix import Mix, blend
from cnn_cli.training.initial_weights import initial_weights
from cnn_cli.training.mixing import make_mixer
from cnn_cli.training.setup import open_network
from cnn_cli.training.training_data import (
    TrainingData,
    augment_training,
    epoch_order,
    measure_normalization,
    open_training_data,
)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One image of a batch.

    Attributes:
        path: its file.
        pixels: (height, width, channels); those of mixed images are rounded for display.
        labels: pairs (class name, fraction), the image's own class first; fractions of 0 are
            omitted, and two images of one class have one entry. With several labels per image, each
            fraction is independent.
    """

    path: str
    pixels: Pixels
    labels: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """The first images of an epoch.

    Attributes:
        classes: class names in the network's order.
        images: number of training images.
    """

    classes: tuple[str, ...]
    images: int
    samples: tuple[Sample, ...]


def preview(config: Config, source: str, epoch: int, count: int, threads: int) -> Preview:
    """Return the first `count` images of an epoch, in its order.

    Args:
        config: the config of the training.
        source: its file, for messages.
        epoch: counted from 0.
        count: the largest number of images.
        threads: threads that decode and augment.

    Raises:
        CnnError: what `train` would raise, or no image can be read.
    """
    dataset, graph = open_network(config, source)
    config = config.with_keys("data", cache="none")  # each image is read only once
    data = open_training_data(config, dataset, threads, lambda _: None)
    try:
        augment_training(config, data, _normalization(config, source, data, graph, threads))
        found = tuple(islice(samples(config, data, epoch), count))
        if not found:
            cache = data.train_loader.cache
            raise none_readable(dataset.root, len(dataset.train), cache.errors())
    finally:
        data.close()
    return Preview(dataset.classes, len(dataset.train), found)


def _normalization(
    config: Config, source: str, data: TrainingData, graph: Graph, threads: int
) -> Normalization:
    """Return the training's normalization if augmentation fills with the mean; else read no
    image.
    """
    erase = config.augment.random_erase
    if config.data.depth == "float" or (erase is not None and erase.value == "mean"):
        given = initial_weights(config, graph, data.dataset.classes, source).normalization
        return measure_normalization(config, data, threads, given)
    channels = config.data.channels
    return Normalization((0.0,) * channels, (1.0,) * channels)


def samples(config: Config, data: TrainingData, epoch: int) -> Generator[Sample, None, None]:
    """Yield the images of an epoch in order; the images of a batch are read together."""
    dataset, loader, mixer = data.dataset, data.train_loader, make_mixer(config)
    if epoch < config.train.head_epochs and data.plain_loader is not None:
        loader, mixer = data.plain_loader, None
    order = epoch_order(config, epoch, dataset.train)
    size = loader.image_size = config.image_size(epoch)
    for batch in loader.batches(order, epoch=epoch):
        images, mix = batch.images, None
        if mixer is not None:
            mix = mixer.mix(epoch, batch.number * config.train.batch_size, len(batch), size)
            images = mixed_pixels(images, mix)
        for row, index in enumerate(batch.indices):
            own = numbers_of(batch.labels, row)
            labels = dict.fromkeys(own, 1.0)
            if mix is not None:
                ratio = float(mix.ratios[row])
                other = numbers_of(batch.labels, int(mix.partners[row]))
                labels |= {number: ratio for number in own if number not in other}
                labels |= {number: 1 - ratio for number in other if number not in own}
            yield Sample(
                dataset.train.paths[index],
                images[row].copy(),
                tuple((dataset.classes[i], part) for i, part in labels.items() if part),
            )


def mixed_pixels(images: Pixels, mix: Mix) -> Pixels:
    """Mix a batch in pixel values, as the engine does after scaling: the two commute."""
    x = images.astype(np.float64)
    blend(x, x[mix.partners], mix)
    if images.dtype.kind == "u":
        np.rint(x, out=x)
    return x.astype(images.dtype)
