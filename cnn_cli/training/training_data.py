"""The images of a training: opened, normalized, augmented, and the order of each epoch.

`open_training_data`, `measure_normalization` and `augment_training` make them ready, in this order.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnn_cli.config import Config
from cnn_cli.data.augment import Resample, kept_preprocess, make_augmentation
from cnn_cli.data.cache import ImageCache
from cnn_cli.data.dataset import Dataset, Split
from cnn_cli.data.loader import Loader
from cnn_cli.data.normalization import Normalization
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.sampling import draw_order
from cnn_cli.data.shards import deal, interleave, rank_images
from cnn_cli.data.statistics import add_sums, channel_sums, mean_and_std
from cnn_cli.data.targets import class_counts, is_of
from cnn_cli.data.views import Views, make_views
from cnn_cli.errors import none_readable
from cnn_cli.parallel.batches import share_bad
from cnn_cli.parallel.ranks import ALONE, Ranks
from cnn_cli.rng import Purpose, generator
from cnn_cli.system import available_memory
from cnn_cli.training.memory import MemoryPlan

EVALUATION_BATCH = 64


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The images of one training.

    Attributes:
        train_loader, val_loader: loaders of the two splits; the second is None without validation.
        plain_loader: loader of the training images without `augment`, for `train.head`; else None.
        views: the views of a validation image whose scores are averaged; None for one view.
    """

    dataset: Dataset
    preprocess: Preprocess
    train_loader: Loader
    val_loader: Loader | None
    plain_loader: Loader | None = None
    views: Views | None = None

    @property
    def caches(self) -> list[ImageCache]:
        loaders = [self.train_loader, self.val_loader, self.plain_loader]
        return [loader.cache for loader in loaders if loader is not None]

    @property
    def bad_files(self) -> dict[str, str]:
        bad: dict[str, str] = {}
        for cache in self.caches:
            bad |= {cache.paths[i]: error.message for i, error in cache.bad.items()}
        return bad

    @property
    def several(self) -> set[str]:
        """Files with more than one frame, among those read by this process."""
        return {path for cache in self.caches for path in cache.several}

    def close(self) -> None:
        for cache in self.caches:
            cache.close()


def open_training_data(
    config: Config,
    dataset: Dataset,
    threads: int,
    note: Callable[[str], None],
    ranks: Ranks = ALONE,
    memory: MemoryPlan | None = None,
) -> TrainingData:
    """Open the images and reserve memory for caching them; they are read on demand.

    Args:
        memory: the memory plan of the training, if there is one.
    """
    # Shared by all ranks on this machine: they cache each image once.
    budget = (available_memory() if memory is None else memory.room()) // 2
    limited = memory is not None and memory.limit is not None

    def loader(split: Split, batch_size: int, kept: Preprocess, aspects: bool = False) -> Loader:
        nonlocal budget
        forced = config.data.cache == "ram" and not limited
        cache = ImageCache.open(
            config.data.cache,
            split.paths,
            kept,
            None if forced else budget,
            aspects=aspects,
            here=ranks,
        )
        if cache.mode == "ram":
            budget -= cache.nbytes
        elif config.data.cache == "auto":
            note(f"decoded images do not fit in memory; cache: {cache.mode}")
        return Loader(split, cache, batch_size, threads, config.data.on_corrupt)

    preprocess = config.data.preprocess
    crop = config.augment.random_resized_crop
    kept = kept_preprocess(crop, preprocess, dataset.train.paths)
    train_loader = loader(dataset.train, config.train.batch_size, kept, kept is not preprocess)
    val_loader, tta = None, config.augment.tta
    views = None if tta is None else make_views(tta, preprocess)
    if dataset.val is not None and len(dataset.val):
        decoding = preprocess if views is None else views.pre
        val_loader = loader(dataset.val, EVALUATION_BATCH, decoding)
    plain_loader = None
    if config.train.head is not None:
        cache = train_loader.cache
        if kept is not preprocess:  # images kept for cropping are not the ones that validation uses
            cache = ImageCache.open("none", dataset.train.paths, preprocess)
            cache.bad = train_loader.cache.bad
        batch_size, on_corrupt = config.train.batch_size, config.data.on_corrupt
        plain_loader = Loader(dataset.train, cache, batch_size, threads, on_corrupt)
    return TrainingData(dataset, preprocess, train_loader, val_loader, plain_loader, views)


def measure_normalization(
    config: Config,
    data: TrainingData,
    threads: int,
    given: Normalization | None = None,
    ranks: Ranks = ALONE,
) -> Normalization:
    """Return the `data.mean` and `data.std` of the images.

    If they are `auto`, they are `given`, which the initial weights expect, or measured on the
    training images, each rank reading its part.

    Raises:
        DataError: they are measured, and all images, or all of one class, are unreadable.
    """
    mean, std = config.data.mean, config.data.std
    if given is not None:
        mean = given.mean if mean == "auto" else mean
        std = given.std if std == "auto" else std
    if mean == "auto" or std == "auto":
        cache = data.train_loader.cache
        own = rank_images(deal_shards(config, data.dataset.train), ranks.rank, ranks.size)
        brought = ranks.bring(channel_sums(cache, own, threads))
        sums = ranks.first(lambda: add_sums(brought))
        share_bad(ranks, cache.bad, dict(cache.bad))
        measured_mean, measured_std = mean_and_std(
            sums, cache.paths, config.data.depth, cache.errors()
        )
        check_classes(data)
        mean = measured_mean if mean == "auto" else mean
        std = measured_std if std == "auto" else std
    return Normalization(tuple(mean), tuple(std), config.data.depth)


def augment_training(
    config: Config,
    data: TrainingData,
    normalization: Normalization,
    resample: Resample | None = None,
) -> None:
    """Make the training loader augment images as `augment` says; see `make_augmentation`."""
    data.train_loader.augment = make_augmentation(
        config.augment, config.train.seed, data.preprocess, normalization.mean, resample
    )


def augment_kinds(config: Config) -> list[str]:
    """Return the kinds of compiled kernels that augmentation uses, as in `open_kernels`."""
    return [] if config.augment.random_resized_crop is None else ["resample"]


def check_classes(data: TrainingData) -> None:
    """Refuse to continue without a class: the network could not learn it.

    Raises:
        DataError: all training images of a class read so far are unreadable.
    """
    train, bad = data.dataset.train, data.train_loader.cache.bad
    if not bad:
        return
    classes = len(data.dataset.classes)
    counts = class_counts(train.labels, classes)
    lost = np.flatnonzero(counts == class_counts(train.labels[list(bad)], classes))
    if len(lost):
        images = np.flatnonzero(is_of(train.labels, int(lost[0]))).tolist()
        place = os.path.commonpath([os.path.dirname(train.paths[i]) for i in images])
        raise none_readable(place, len(images), (bad[i] for i in images))


def deal_shards(config: Config, split: Split) -> list[NDArray[np.int64]]:
    """Return the positions of the training images in each of `data.shards`; fixed for all
    epochs.
    """
    rng = generator(config.train.seed, Purpose.SHARDS)
    return deal(len(split), config.train.batch_size, config.data.shards, rng)


def epoch_order(
    config: Config, epoch: int, split: Split, batch_size: int | None = None, draw: int = 0
) -> NDArray[np.int64]:
    """Return the order of the training images in an epoch, counted from 0.

    Args:
        batch_size: by default `train.batch_size`.
        draw: another number gives another order.
    """
    rng = generator(config.train.seed, Purpose.SHUFFLE, epoch, draw)
    orders = [
        shard[draw_order(split.labels[shard], config.data.sampler, rng)]
        for shard in deal_shards(config, split)
    ]
    return interleave(orders, batch_size or config.train.batch_size)
