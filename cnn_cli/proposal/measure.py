"""Measure the speed of a proposed network and of its input pipeline on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from cnn_cli.arithmetic import ceil_div
from cnn_cli.bench.network_bench import images_a_second
from cnn_cli.config import Config
from cnn_cli.config.network import build_graph
from cnn_cli.data.augment import Resample, kept_preprocess, make_augmentation
from cnn_cli.data.cache import ImageCache
from cnn_cli.data.dataset import Split
from cnn_cli.data.loader import Loader
from cnn_cli.nn.backends import open_kernels
from cnn_cli.nn.init import initialize
from cnn_cli.nn.kernels.paths import Backend
from cnn_cli.nn.params import Parameters
from cnn_cli.proposal.choose import Speed
from cnn_cli.proposal.survey import Survey
from cnn_cli.training.memory import plan_memory
from cnn_cli.training.training_data import augment_kinds

SECONDS = 0.7  # least duration of each measurement
PICTURES = 128  # to decode
MOST_ROUNDS = 8


def measure(
    config: Config,
    survey: Survey,
    source: str,
    *,
    threads: int,
    backend: Backend,
    note: Callable[[str], None],
    seconds: float = SECONDS,
) -> Speed:
    """Train and predict on random images, and decode and augment some of the folder's.

    Args:
        config: the proposed config.
        survey: the survey of the folder.
        source: the config's file, for messages.
        threads, backend: of the training.
        note: receives a note when kernels are compiled.
        seconds: least duration of each measurement.

    Raises:
        ConfigError: the network needs more memory than there is.
    """
    pre = config.data.preprocess
    graph = build_graph(config.model, pre.shape, len(survey.classes), source)
    memory = plan_memory(config, graph, source, threads, backend, pixel_bytes=pre.dtype.itemsize)
    params = Parameters(graph, config.train.dtype)
    initialize(params, config.train.seed, config.model.init)
    kernels = open_kernels(backend, graph, config.train.dtype, note, augment_kinds(config))
    start, used = time.perf_counter(), time.process_time()
    training, prediction = images_a_second(
        graph,
        params,
        config,
        kernels,
        threads=threads,
        seconds=seconds,
        recompute=memory.recompute,
        least_steps=1,
    )
    cpu_fraction = (time.process_time() - used) / (time.perf_counter() - start) / threads
    decoding, augmenting = _feeding(config, survey, threads, seconds, kernels.resample)
    return Speed(training, prediction, decoding, augmenting, min(1.0, cpu_fraction))


def _feeding(
    config: Config, survey: Survey, threads: int, seconds: float, resample: Resample | None
) -> tuple[float, float]:
    """Measure how many images per second are decoded, and augmented once decoded."""
    pre = config.data.preprocess
    paths = list(survey.sample[:: ceil_div(len(survey.sample), PICTURES)])
    kept = kept_preprocess(config.augment.random_resized_crop, pre, paths)
    with ImageCache.open("ram", paths, kept, aspects=kept is not pre) as cache:
        split = Split(paths, np.zeros(len(paths), np.int64))
        mean = (0.5,) * pre.channels
        augment = make_augmentation(config.augment, config.train.seed, pre, mean, resample)
        loader = Loader(split, cache, config.train.batch_size, threads, augment=augment)
        first = _epoch_seconds(loader, 0)
        later: list[float] = []
        while not later or (sum(later) < seconds and len(later) < MOST_ROUNDS):
            later.append(_epoch_seconds(loader, 1 + len(later)))
    again = float(np.median(later))
    # Decoding that disappears in the noise of the rest is not the bottleneck.
    return len(paths) / max(first - again, first / 10), len(paths) / again


def _epoch_seconds(loader: Loader, epoch: int) -> float:
    order = np.arange(len(loader.split))
    start = time.perf_counter()
    for _ in loader.batches(order, epoch=epoch):
        pass
    return max(time.perf_counter() - start, 1e-6)
