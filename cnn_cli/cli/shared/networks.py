"""A network given on the command line, as a config or a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cnn_cli.cli.shared import values
from cnn_cli.cli.shared.parameters import Argument, Option
from cnn_cli.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from cnn_cli.config import Config
    from cnn_cli.inference.classifier import Classifier
    from cnn_cli.nn.graph import Graph

Source = Annotated[
    str,
    Argument(
        metavar="CONFIG|CKPT",
        parser=values.text,
        help="A config, a checkpoint (.npz) or a run folder.",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    Argument(
        metavar="[KEY=VALUE]...",
        parser=values.override,
        help="Override keys of the config, for example data.image_size=64.",
        show_default=False,
    ),
]
Classes = Annotated[
    int | None,
    Option(
        "--classes",
        metavar="N",
        parser=values.whole(2),
        help="Number of classes. Default: from data.classes or the folder data.root.",
    ),
]


@dataclass(frozen=True, slots=True)
class NamedNetwork:
    """A network, its training settings, and the checkpoint that it comes from."""

    config: Config
    graph: Graph
    classifier: Classifier | None


def open_network(source: str, overrides: list[str], classes: int | None) -> NamedNetwork:
    """Open the network in a config or checkpoint.

    Raises:
        UsageError: an option for configs was given with a checkpoint.
        CnnError: it does not exist or is invalid.
    """
    if not is_checkpoint(source):
        return _of_config(source, overrides, classes)
    if overrides:
        raise UsageError(overrides[0], "a checkpoint's config cannot be changed")
    if classes is not None:
        raise UsageError("--classes", "a checkpoint has its own classes")
    from cnn_cli.inference.classifier import Classifier

    classifier = Classifier.load(source)
    return NamedNetwork(classifier.config, classifier.graph, classifier)


def is_checkpoint(source: str) -> bool:
    """Whether a file is a checkpoint, by its extension or the first bytes of a zip file."""
    path = Path(source)
    if path.suffix.lower() == ".npz" or path.is_dir():
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except (OSError, ValueError):
        return False


def _of_config(source: str, overrides: list[str], classes: int | None) -> NamedNetwork:
    from cnn_cli.config import load_config
    from cnn_cli.config.network import build_graph

    config = load_config(source, overrides)
    in_shape = config.data.preprocess.shape
    if classes is None:
        classes = _count_classes(config, source)
    return NamedNetwork(config, build_graph(config.model, in_shape, classes, source), None)


def _count_classes(config: Config, source: str) -> int:
    from cnn_cli.data.roots import is_there, training_classes

    data = config.data
    if data.classes is not None:
        return len(data.classes)
    if data.root is None or not is_there(Path(data.root)):
        rule = "the number of classes must come from data.classes, data.root or --classes N"
        got = "neither" if data.root is None else f"no folder {data.root}"
        raise ConfigError(source, rule, got)
    return len(training_classes(Path(data.root), data.columns, data.separator))
