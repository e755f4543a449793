"""This program's side of a comparison."""

from __future__ import annotations

from typing import Any

from benchmark_networks import Network
from harness import SGD

from cnn_cli.config import Config, validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.nn.backends import load_backend
from cnn_cli.nn.fuse import kernel_kinds
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.loss import target_weights
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.nn.types import Array
from cnn_cli.optim.groups import freeze_graph, make_groups
from cnn_cli.optim.optimizers import make_optimizer


def build(name: str, network: Network) -> tuple[Config, Graph]:
    """Build the network from a config."""
    document = {
        "model": {"layers": network.layers},
        "train": {
            "batch_size": network.batch,
            "optimizer": {"type": "sgd", **SGD},
            "freeze": network.frozen,
        },
    }
    config = validate_config(document, name)
    graph = build_graph(config.model, network.in_shape, network.classes, name)
    return config, freeze_graph(graph, config.train.rules, 0)


class Ours:
    """A network in this program; `close` ends its threads.

    Args:
        weights: `layer/name` arrays in PyTorch's layouts; random by default.
        recompute: as `train.recompute`.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        weights: dict[str, Any] | None,
        threads: int,
        backend: str,
        *,
        recompute: bool = False,
    ) -> None:
        config, graph = build(name, network)
        params = Parameters(graph, "float32")
        if weights is None:
            initialize(params, 0, config.model.init)
        else:
            params.load(weights, name)
        self.x, labels = network.make_batch()
        self.targets, self.divisor = target_weights(labels, network.classes)
        self.engine = make_engine(
            graph, params, threads, backend, batch_size=network.batch, recompute=recompute
        )
        groups = make_groups(params, config.train.rules)
        self.optimizer = make_optimizer(config.train.optimizer, params, groups)

    def step(self) -> float:
        loss, _ = self.engine.train_step(self.x, self.targets, self.divisor)
        self.optimizer.step(self.engine.gradient, SGD["lr"])
        return loss

    def predict(self) -> Array:
        return self.engine.predict(self.x)

    def close(self) -> None:
        self.engine.close()


def make_engine(
    graph: Graph,
    params: Parameters,
    threads: int,
    backend: str,
    scale: Array | None = None,
    shift: Array | None = None,
    *,
    batch_size: int = 1,
    recompute: bool = False,
) -> TrainingEngine:
    """Return an engine; integer images become ``x * scale + shift``."""
    return TrainingEngine(
        graph,
        params,
        threads=threads,
        scale=scale,
        shift=shift,
        kernels=load_backend(backend, kinds=kernel_kinds(graph)),
        batch_size=batch_size,
        recompute=recompute,
    )
