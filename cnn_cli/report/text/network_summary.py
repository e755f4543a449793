"""A network as a table: output, parameters and cost of each layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cnn_cli.config.sections import TrainConfig
from cnn_cli.errors import size_text
from cnn_cli.nn.fuse import choose_paths
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.kernels.paths import Backend
from cnn_cli.nn.layers.base import shape_text
from cnn_cli.nn.memory import parameter_count, training_bytes
from cnn_cli.nn.types import Shape
from cnn_cli.report.text.table import format_pairs, format_table


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer.

    Attributes:
        path: path of a convolution; "" for other layers.
        output: shape for one image: height, width, channels; or features.
        parameters: number of trained values.
        multiply_adds: for one image, forward.
    """

    name: str
    type: str
    path: str
    output: Shape
    parameters: int
    multiply_adds: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A whole network.

    Attributes:
        input: height, width and channels of an image.
        layers: in the order of execution.
        parameter_bytes: bytes of the trained values.
        training_bytes: estimated peak memory of training, including the interpreter but without
            cached images, for that `batch_size`, number of `threads`, and `backend`.
    """

    input: Shape
    classes: int
    layers: tuple[LayerRow, ...]
    parameters: int
    multiply_adds: int
    parameter_bytes: int
    training_bytes: int
    batch_size: int
    threads: int
    backend: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def as_text(self) -> str:
        """Return a table of the layers with totals, an empty line, and the memory."""
        rows = [
            (row.name, row.type, row.path, shape_text(row.output), *_counts(row))
            for row in self.layers
        ]
        header = ("name", "type", "path", "output", "parameters", "multiply-adds")
        total = ("total", "", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}")
        first = ("input", "", "", shape_text(self.input), "0", "0")
        table = format_table(header, [first, *rows], "llllrr", total)
        setting = f"batch size {self.batch_size}, {self.threads} threads, {self.backend}"
        batch = f"(estimate: {setting}, without images)"
        memory = [
            ("memory of the parameters", size_text(self.parameter_bytes)),
            ("memory to train", f"{size_text(self.training_bytes)} {batch}"),
        ]
        return table + "\n" + format_pairs(memory)


def summarize(
    graph: Graph, train: TrainConfig, threads: int, backend: Backend, pixel_bytes: int = 1
) -> Summary:
    """Return the rows and totals of a network.

    Args:
        graph: the network.
        train: settings of training, which determine its memory.
        threads: threads of training.
        backend: the backend, which determines the paths of convolutions.
        pixel_bytes: bytes per value of an image.
    """
    rows = tuple(
        LayerRow(
            node.name,
            node.layer.kind,
            node.layer.path or "",
            node.layer.out_shape,
            sum(spec.size for spec in node.layer.params),
            node.layer.muladds,
        )
        for node in choose_paths(graph, backend).nodes
    )
    return Summary(
        input=graph.in_shape,
        classes=graph.classes,
        layers=rows,
        parameters=parameter_count(graph),
        multiply_adds=sum(row.multiply_adds for row in rows),
        parameter_bytes=parameter_count(graph) * np.dtype(train.dtype).itemsize,
        training_bytes=training_bytes(
            graph, train, threads, backend, pixel_bytes, recompute=train.recompute is True
        ),
        batch_size=train.batch_size,
        threads=threads,
        backend=backend,
    )


def _counts(row: LayerRow) -> tuple[str, str]:
    return f"{row.parameters:,}", f"{row.multiply_adds:,}"
