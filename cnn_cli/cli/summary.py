"""`cnn summary`: a network's layers, with what each makes, holds and costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnn_cli.cli import output, values
from cnn_cli.cli.options import Debug, Json
from cnn_cli.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from cnn_cli.config import Config, TrainConfig
    from cnn_cli.nn.graph import Graph

NAME = "summary"
EXAMPLES = """\b
Examples:
  cnn summary configs/small.yaml
  cnn summary configs/small.yaml data.image_size=64 --json
  cnn summary runs/small/best.npz
"""


def command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG|CKPT",
            parser=values.text,
            help="A config, a checkpoint (.npz) or a run folder.",
            show_default=False,
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            parser=values.override,
            help="Values for the config's keys, as data.image_size=64.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(
            "--classes",
            metavar="N",
            parser=values.whole("--classes", 2),
            help="How many classes. Default: those of data.classes or of the folder data.root.",
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show a network's layers and what they cost.

    Output shapes are height, width and channels of one image; multiply-adds are those of its
    forward pass.
    """
    checkpoint = _is_checkpoint(source)
    if checkpoint and overrides:
        raise UsageError(overrides[0], "a checkpoint's config cannot be changed")
    if checkpoint and classes is not None:
        raise UsageError("--classes", "a checkpoint has its own classes")
    from cnn_cli.report.summary import summarize
    from cnn_cli.system import cpu_count

    if checkpoint:
        graph, train = _of_checkpoint(source)
    else:
        graph, train = _of_config(source, overrides or [], classes)
    summary = summarize(graph, train, cpu_count())
    output.write(output.json_line(summary.as_dict()) + "\n" if json else summary.as_text())


def _is_checkpoint(source: str) -> bool:
    """By its name, or by how a zip file starts."""
    path = Path(source)
    if path.suffix == ".npz" or path.is_dir():
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except (OSError, ValueError):
        return False


def _of_checkpoint(source: str) -> tuple[Graph, TrainConfig]:
    from cnn_cli.training.classifier import Classifier

    classifier = Classifier.load(source)
    return classifier.graph, classifier.config.train


def _of_config(source: str, overrides: list[str], classes: int | None) -> tuple[Graph, TrainConfig]:
    from cnn_cli.config import load_config
    from cnn_cli.nn.graph import build_graph

    config = load_config(source, overrides)
    in_shape = (*config.data.image_size, config.data.channels)
    if classes is None:
        classes = _count_classes(config, source)
    return build_graph(config.model, in_shape, classes, source), config.train


def _count_classes(config: Config, source: str) -> int:
    from cnn_cli.data.folder import find_splits, sub_folders

    data = config.data
    if data.classes is not None:
        return len(data.classes)
    if data.root is None or not Path(data.root).is_dir():
        rule = "the number of classes must come from data.classes, data.root or --classes N"
        got = "neither" if data.root is None else f"no folder {data.root}"
        raise ConfigError(source, rule, got)
    splits = find_splits(data.root)
    return len(sub_folders(data.root if splits is None else splits.get("train", data.root)))
