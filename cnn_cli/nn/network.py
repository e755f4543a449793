"""A graph with its parameters, planned and ready to be passed through."""

from __future__ import annotations

from dataclasses import dataclass

from cnn_cli.nn.graph import IMAGE, Graph
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.plan import Segment, plan_segments
from cnn_cli.nn.prepared import Prepared
from cnn_cli.nn.team import Team


@dataclass(frozen=True, slots=True)
class Network:
    """What a pass runs through.

    Attributes:
        segments: of the graph's nodes, cut for training or for evaluation.
        prepared: what layers make of `params` once a step.
        training: there is a backward pass.
        frozen: batch layers use their running statistics and dropout keeps all, as in evaluation.
        start: the tensor that passes begin with.
    """

    graph: Graph
    params: Parameters
    segments: tuple[Segment, ...]
    prepared: Prepared
    training: bool
    frozen: bool = False
    start: int = IMAGE

    @classmethod
    def open(
        cls, graph: Graph, params: Parameters, team: Team, *, training: bool, start: int = IMAGE
    ) -> Network:
        segments = plan_segments(graph, training=training, start=start)
        prepared = Prepared(graph, params, team)
        return cls(graph, params, segments, prepared, training, start=start)
