"""Propose a config for a folder of images."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from cnn_cli.config import Config, validate_config
from cnn_cli.config.yaml12 import parse_yaml
from cnn_cli.errors import ConfigError, DataError, suggest
from cnn_cli.interop.pretrained import EXTRA, PACKAGES, Package, find_weights
from cnn_cli.proposal.choose import (
    FEW,
    STRONG_EPOCHS,
    Candidate,
    Choice,
    Speed,
    Tuning,
    batch_size,
    enough_epochs,
    fit,
    images_a_class,
    networks,
)
from cnn_cli.proposal.config_text import config_yaml
from cnn_cli.proposal.fine_tuning import head_alone, suits, upper_layers
from cnn_cli.proposal.survey import Survey, survey
from cnn_cli.proposal.words import head_lines

SCRATCH = "scratch"
HINT = (
    f"Install the extra {EXTRA} (pip install 'cnn-cli[{EXTRA}]') to start from a network that was "
    "trained on a million photographs"
)
ConfigOf = Callable[[Choice], tuple[str, Config]]
UNKNOWN = Speed(1.0, 1.0, 1.0, 1.0)  # for a network that is yet to be measured


class Measure(Protocol):
    """Measures a config; see `measure.measure`."""

    def __call__(self, config: Config, survey: Survey, source: str) -> Speed: ...


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposed config.

    Attributes:
        text: text of the file.
        config: the config in it.
        next: the command that trains with it.
    """

    survey: Survey
    choice: Choice
    text: str
    config: Config
    next: str


def propose(
    root: Path,
    file: Path,
    budget: float,
    threads: int,
    measure: Measure,
    options: str = "",
    progress: Callable[[str], object] = lambda _: None,
    start: str | None = None,
    labels: str | None = None,
) -> Proposal:
    """Examine a folder and propose a config.

    Pretrained weights are used if they are installed and suit the images. Otherwise it takes the
    first network that has time for half of the useful epochs, or the last, fastest one.

    Args:
        root: the folder of images.
        file: where the config will be written.
        budget: seconds for the training.
        threads: threads that read images.
        measure: measures a network's speed.
        options: options of `cnn train` used in the measurements.
        progress: receives what is being measured.
        start: name of the weights to start from, or `scratch`; None to decide by the images.
        labels: as in `survey`.

    Raises:
        UsageError: the weights' package is not installed.
        DataError: the folder cannot be used for training, or there are no weights of that name.
        ConfigError: no network fits in memory.
    """
    progress("looking at the images")
    found = survey(root, threads, labels)
    command = f"cnn train {shlex.quote(str(file))}{options}"
    place = relative_root(root, file)

    def config_of(choice: Choice) -> tuple[str, Config]:
        head = head_lines(found, choice, budget)
        text = config_yaml(found, choice, place, command, head)
        return text, validate_config(parse_yaml(text, str(file)), str(file))

    package = None if start == SCRATCH else _package(found, start)
    if package is None and start is None and suits(found):
        found = replace(found, remarks=(*found.remarks, HINT))
    if package is not None:
        choice = _tuned(found, package, config_of, measure, str(file), budget, progress)
    else:
        choice = _from_scratch(found, config_of, measure, str(file), budget, progress)
    text, config = config_of(choice)
    return Proposal(found, choice, text, config, command)


def _package(survey: Survey, start: str | None) -> Package | None:
    """Return the weights to start from, or None."""
    if start is not None:
        if start not in PACKAGES:
            rule = f"must be {SCRATCH} or one of {', '.join(PACKAGES)}.{suggest(start, PACKAGES)}"
            raise DataError("--from", rule, f"'{start}'")
        find_weights(start, "--from")
        return PACKAGES[start]
    if not suits(survey):
        return None
    return next((package for package in PACKAGES.values() if package.find()), None)


def _tuned(
    survey: Survey,
    package: Package,
    config_of: ConfigOf,
    measure: Measure,
    source: str,
    budget: float,
    progress: Callable[[str], object],
) -> Choice:
    """Choose how far to fine-tune pretrained weights in the time given."""
    progress(f"measuring {package.name}")
    side = package.image_size
    trial = head_alone(survey, package.name, side, UNKNOWN, budget)
    whole = replace(
        trial,
        epochs=trial.epochs + 1,
        tuning=Tuning(package.name, trial.epochs, package.lower),
    )
    speed = measure(config_of(whole)[1], survey, source)
    head = head_alone(survey, package.name, side, speed, budget)
    return upper_layers(survey, head, package.lower, speed, budget)


def _from_scratch(
    survey: Survey,
    config_of: ConfigOf,
    measure: Measure,
    source: str,
    budget: float,
    progress: Callable[[str], object],
) -> Choice:
    choice = None
    suitable = networks(survey)
    for network in suitable:
        progress(f"measuring a network for {network.size[0]}×{network.size[1]} pixels")
        try:
            speed = measure(config_of(_trial(survey, network))[1], survey, source)
        except ConfigError:  # too little memory
            if choice is None and network is suitable[-1]:
                raise
            continue
        choice = fit(survey, network, speed, budget)
        if choice.epochs >= enough_epochs(survey.train_images) and choice.fits:
            break
    if choice is None:
        raise ValueError("there is no network to choose from")
    return choice


def relative_root(root: Path, file: Path) -> str:
    """Return the folder relative to the config's folder, if it is below it."""
    whole, place = os.path.abspath(root), os.path.abspath(file.parent)
    if whole == place:
        return "."
    if os.path.commonpath([whole, place]) == place:
        below = os.path.relpath(whole, place)
        return f"./{below}" if below.startswith("~") else below
    return whole


def _trial(survey: Survey, network: Candidate) -> Choice:
    """Return a network with the most expensive augmentation that may be chosen."""
    return Choice(
        network=network,
        batch_size=batch_size(survey.train_images, network),
        epochs=STRONG_EPOCHS,
        strong=images_a_class(survey) < FEW,
        speed=UNKNOWN,
        epoch_seconds=1.0,
        seconds=1.0,
        fits=True,
        limited=True,
    )
