"""The network that a checkpoint says it holds."""

from __future__ import annotations

from typing import Any

from cnn_cli.config import Config, validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.errors import ConfigError, DataError, size_text
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.memory import parameter_count
from cnn_cli.system import available_memory

# Of the trained numbers, as float64: the weights, two of an optimizer, averages, slow weights, a
# gradient; each twice after a rollback.
MOST_COPIES = 16
ROOM = 32 * 2**20  # bytes, for the document, headers, and running statistics


def stored_network(meta: dict[str, Any], place: str) -> tuple[Config, Graph]:
    """Config and graph of a checkpoint's document, as `check_meta` lets it pass.

    Raises:
        DataError: the config is not valid, or no network for these images and classes.
    """
    sizes = meta["preprocess"]
    shape = (sizes["height"], sizes["width"], sizes["channels"])
    try:
        config = validate_config(meta["config"], place)
        return config, build_graph(config.model, shape, len(meta["classes"]), place)
    except ConfigError as error:
        raise DataError(error.place, error.rule, error.got) from error


def check_unpacked_size(size: int, meta: dict[str, Any], place: str) -> None:
    """Refuse a compressed checkpoint that would unpack to more than its network accounts for.

    Args:
        size: bytes that its directory promises.

    Raises:
        DataError: it is that, or it does not fit into memory, or see `stored_network`.
    """
    _, graph = stored_network(meta, place)
    most = MOST_COPIES * 8 * parameter_count(graph) + ROOM
    if size > most:
        rule = f"must not unpack to more than {size_text(most)}, the most for its network"
        raise DataError(place, rule, size_text(size))
    have = available_memory()
    if size > have:
        raise DataError(place, "must fit into memory", f"{size_text(size)} of {size_text(have)}")
