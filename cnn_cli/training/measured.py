"""Which metrics to measure on the validation images after each epoch, beside loss and top-1."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cnn_cli.config import Config
from cnn_cli.data.dataset import Dataset, Split
from cnn_cli.data.targets import is_of
from cnn_cli.errors import CnnError, ConfigError, UsageError, size_text
from cnn_cli.inference.evaluate import logits_can_be_kept
from cnn_cli.metric_names import (
    OVERALL,
    TOP1,
    Metric,
    default_monitor,
    find_class,
    find_metric,
    no_such_class,
    overall_of,
)
from cnn_cli.optim.schedule import PlateauConfig

GATE = "--fail-under"


def measured_metrics(
    config: Config, source: str, dataset: Dataset, gates: Iterable[Metric]
) -> tuple[Metric, ...]:
    """Return the metrics that are cheap, that the config monitors, or that were asked for.

    Args:
        config: the config of the training.
        source: its file, for messages.
        dataset: the data set with the validation images.
        gates: further metrics to measure.

    Raises:
        ConfigError, UsageError: the config or the command line names a metric that is undefined for
            these images.
    """
    asked: list[tuple[type[CnnError], str, Metric]] = [
        (ConfigError, f"{source}: train.monitor", config.train.monitored)
    ]
    schedule, labels = config.train.scheduler, config.data.labels
    if isinstance(schedule, PlateauConfig):
        followed = find_metric(schedule.monitor or "loss") or TOP1
        asked.append((ConfigError, f"{source}: train.scheduler.monitor", followed))
    for kind, place, metric in asked:
        if metric != default_monitor(labels):
            _check_images(kind, place, metric, dataset)
    for metric in gates:
        _validation(UsageError, GATE, metric, dataset)
        asked.append((UsageError, GATE, metric))
    for kind, place, metric in asked:
        if rule := metric.not_of(labels):
            raise kind(place, rule)
        if rule := no_such_class(metric, dataset.classes):
            raise kind(place, rule, repr(metric.of))
        if metric.kind.needs_scores:
            _check_scores_fit(kind, place, metric.text, config, dataset)
    if labels == "multiple":
        _check_scores_fit(ConfigError, f"{source}: data.labels", "multiple", config, dataset)
        cheap = [Metric(name) for name in overall_of(labels)]
    else:
        cheap = [Metric(name) for name, kind in OVERALL.items() if not kind.needs_scores]
    every = dict.fromkeys([*cheap, *(metric for _, _, metric in asked)])
    return tuple(metric for metric in every if metric not in (TOP1, Metric("loss")))


def _check_scores_fit(
    kind: type[CnnError], place: str, what: str, config: Config, dataset: Dataset
) -> None:
    if dataset.val is None:
        return
    need = len(dataset.val) * len(dataset.classes) * np.dtype(config.train.dtype).itemsize
    if not logits_can_be_kept(need):
        rule = f"{what} takes the scores of all validation images, which do not fit"
        raise kind(place, rule, size_text(need))


def keeps_logits(metrics: Iterable[Metric]) -> bool:
    """Whether a metric needs the scores of all images at once."""
    return any(metric.kind.needs_scores for metric in metrics)


def _validation(kind: type[CnnError], place: str, metric: Metric, dataset: Dataset) -> Split:
    """Return the validation images, which a metric needs."""
    if dataset.val is None or not len(dataset.val):
        raise kind(place, f"{metric.text} needs validation images", "none")
    return dataset.val


def _check_images(kind: type[CnnError], place: str, metric: Metric, dataset: Dataset) -> None:
    """Refuse a metric for which there are no validation images, or none of its class."""
    val = _validation(kind, place, metric, dataset)
    number = None if metric.of is None else find_class(metric.of, dataset.classes)
    if number is not None and not is_of(val.labels, number).any():
        raise kind(place, f"{metric.text} needs validation images of the class", "none")
