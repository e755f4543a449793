"""The network described in a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cnn_cli.errors import ConfigError, DataError, size_text
from cnn_cli.nn.graph import Graph, NodeError, read_graph
from cnn_cli.nn.memory import parameter_count
from cnn_cli.system import check_memory

if TYPE_CHECKING:
    from cnn_cli.config import Config

NETWORK = "network"
# Of the trained values, as float64: weights, two optimizer states, averages, slow weights, a
# gradient; each twice after a rollback.
MOST_COPIES = 16
ROOM = 32 * 2**20  # bytes for metadata, headers and running statistics


def network_facts(graph: Graph, dtype: str) -> dict[str, Any]:
    """Return the metadata that describes a network, so that loading it does not need the config."""
    return {NETWORK: graph.plain() | {"dtype": dtype}}


def stored_config(meta: dict[str, Any], place: str) -> Config:
    """Return the config in a checkpoint's metadata, which `check_meta` has accepted.

    Raises:
        DataError: it is invalid.
    """
    from cnn_cli.config import validate_config  # prediction does without

    try:
        return validate_config(meta["config"], place)
    except ConfigError as error:
        raise DataError(error.place, error.rule, error.got) from error


def stored_network(meta: dict[str, Any], place: str) -> tuple[Graph, str]:
    """Return the graph described in a checkpoint's metadata, and its dtype.

    Checkpoints of version 0.1.0 and before contain only their config, from which the graph is
    built.

    Raises:
        DataError: there is no valid network for these images and classes.
    """
    sizes = meta["preprocess"]
    shape = (sizes["height"], sizes["width"], sizes["channels"])
    classes = len(meta["classes"])
    if NETWORK not in meta:
        return _from_config(meta, shape, classes, place)
    document = meta[NETWORK]
    try:
        graph = read_graph(document)
    except NodeError as error:
        raise DataError(place, f"meta.{NETWORK}: {error.rule}", error.got) from error
    if (graph.in_shape, graph.classes) != (shape, classes):
        raise DataError(place, f"meta.{NETWORK} must be for its images and classes")
    dtype = document.get("dtype")
    if dtype not in ("float32", "float64"):
        raise DataError(place, f"meta.{NETWORK}.dtype must be float32 or float64")
    return graph, dtype


def _from_config(
    meta: dict[str, Any], shape: tuple[int, int, int], classes: int, place: str
) -> tuple[Graph, str]:
    from cnn_cli.config.network import build_graph

    config = stored_config(meta, place)
    try:
        return build_graph(config.model, shape, classes, place), config.train.dtype
    except ConfigError as error:
        raise DataError(error.place, error.rule, error.got) from error


def check_unpacked_size(size: int, meta: dict[str, Any], place: str) -> None:
    """Refuse a compressed checkpoint that would unpack to more than its network explains.

    Args:
        size: bytes that its directory declares.
        meta: its metadata.
        place: its name.

    Raises:
        DataError: it is refused, does not fit into memory, or as in `stored_network`.
    """
    graph, _ = stored_network(meta, place)
    most = MOST_COPIES * 8 * parameter_count(graph) + ROOM
    if size > most:
        rule = f"must not unpack to more than {size_text(most)}, the most for its network"
        raise DataError(place, rule, size_text(size))
    check_memory(size, place, "must fit into memory")
