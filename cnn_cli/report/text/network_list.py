"""The built-in networks as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.config.networks import arguments_of, network_text
from cnn_cli.config.yaml12 import parse_yaml
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.memory import parameter_count
from cnn_cli.report.text.table import format_table

CLASSES = 1000  # as in ImageNet, for which nearly all of them were designed


@dataclass(frozen=True, slots=True)
class NamedSize:
    """One network.

    Attributes:
        about: description and paper.
        image_size: height and width of the images for which it was designed.
        parameters, multiply_adds: for 1000 classes and one image of that size.
        arguments: the arguments of `model.network`, with defaults.
        images_per_second: prediction speed on this machine; None if not measured.
    """

    name: str
    about: str
    image_size: tuple[int, int]
    parameters: int
    multiply_adds: int
    arguments: dict[str, Any]
    images_per_second: float | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def named_size(name: str, measure: Callable[[Graph], float] | None = None) -> NamedSize:
    """Return the row of a network.

    Args:
        name: from `config.networks.network_names`.
        measure: measures the images per second of a network's prediction.
    """
    text = network_text(name)
    config = validate_config(parse_yaml(text, name), name)
    graph = build_graph(config.model, config.data.preprocess.shape, CLASSES, name)
    return NamedSize(
        name=name,
        about=text.partition("\n")[0].removeprefix("# ").rstrip("."),
        image_size=config.data.image_size,
        parameters=parameter_count(graph),
        multiply_adds=sum(node.layer.muladds for node in graph.nodes),
        arguments=arguments_of(name),
        images_per_second=None if measure is None else measure(graph),
    )


def networks_text(rows: Sequence[NamedSize]) -> str:
    """Return a table of networks."""
    measured = any(row.images_per_second is not None for row in rows)
    header = ["name", "parameters", "multiply-adds", "image", "images/s", "what it is"]
    cells = [
        [
            row.name,
            f"{row.parameters:,}",
            f"{row.multiply_adds:,}",
            "x".join(map(str, row.image_size)),
            f"{row.images_per_second or 0:,.1f}",
            row.about,
        ]
        for row in rows
    ]
    kept = [i for i, title in enumerate(header) if measured or title != "images/s"]
    align = "lrrrrl"
    return format_table(
        tuple(header[i] for i in kept),
        [tuple(row[i] for i in kept) for row in cells],
        "".join(align[i] for i in kept),
    )
