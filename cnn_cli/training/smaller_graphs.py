"""The networks of the smaller images of `train.progressive_resizing`."""

from __future__ import annotations

from cnn_cli.config import Config
from cnn_cli.config.network import build_graph
from cnn_cli.data.progressive_resizing import ImageSize
from cnn_cli.errors import ConfigError
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.layers.base import shape_text
from cnn_cli.nn.layers.batch import needs_company
from cnn_cli.nn.types import Shape


def smaller_graphs(config: Config, source: str, graph: Graph) -> dict[ImageSize, Graph]:
    """Build the network for each smaller size of `train.progressive_resizing`.

    Args:
        graph: the network for the full size, whose weights the others share.

    Raises:
        ConfigError: the network does not fit a size, or would have other weights.
    """
    place, found = f"{source}: train.progressive_resizing", {}
    for size in sorted({*map(config.image_size, range(config.train.epochs))}):
        if size == config.data.image_size:
            continue
        images, in_shape = f"images of {shape_text(size)}", (*size, config.data.channels)
        try:
            small = build_graph(config.model, in_shape, graph.classes, source)
        except ConfigError as error:
            rule = f"the network does not fit {images}: {error.line().removeprefix(f'{source}: ')}"
            raise ConfigError(place, rule) from error
        if other := _first_other(graph, small):
            rule = f"{other} would have other weights for {images}; put global_avgpool before it"
            raise ConfigError(place, rule)
        if config.train.batch_size == 1 and needs_company(node.layer for node in small.nodes):
            rule = f"must be at least 2: a batchnorm sees one value per channel of {images}"
            raise ConfigError(f"{source}: train.batch_size", rule, 1)
        found[size] = small
    return found


def _first_other(graph: Graph, other: Graph) -> str | None:
    """Return the first layer whose weights or statistics differ in name or shape, or None."""

    def arrays(of: Graph) -> dict[str, list[tuple[str, Shape]]]:
        return {
            f"{node.name} ({node.layer.kind})": [
                *((spec.name, spec.shape) for spec in node.layer.params),
                *((spec.name, spec.shape) for spec in node.layer.buffers),
            ]
            for node in of.nodes
            if node.layer.params
        }

    mine, others = arrays(graph), arrays(other)
    return next((name for name in mine | others if mine.get(name) != others.get(name)), None)
