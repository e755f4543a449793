"""Prediction compared with onnxruntime and PyTorch: `python tests/benchmarks/inference.py`.

All sides run in one process, on one batch of random numbers in memory, in turns.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np
from benchmark_networks import RESNET20, SEED
from harness import OURS, Comparison
from ours import make_engine

from cnn_cli.config import plain_config, validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.data.normalization import Normalization
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.inference.classifier import Classifier
from cnn_cli.interop.export.onnx_export import to_onnx
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array

TOLERANCE = 1e-3  # relative to the largest score: rounding errors of fifty layers add up
CLASSES = 1000
NETWORKS: dict[str, tuple[int, Any]] = {  # image side, and `model`
    "seed": (224, {"layers": SEED}),
    "resnet20": (32, {"layers": RESNET20}),
    "resnet18": (224, {"network": "resnet18"}),
    "resnet50": (224, {"network": "resnet50"}),
    "mobilenet-v2": (224, {"network": "mobilenet-v2"}),
    "efficientnet-lite0": (224, {"network": "efficientnet-lite0"}),
}
RIVALS = ("onnxruntime", "eager", "compile")


def main() -> None:
    parser = harness.arguments("Times prediction against onnxruntime and PyTorch.", rounds=7)
    parser.add_argument("--networks", default=",".join(NETWORKS), help="names with commas")
    parser.add_argument("--batches", default="1,32", help="sizes with commas")
    harness.add_rivals(parser, RIVALS)
    options = parser.parse_args()
    harness.prepare()
    rivals = harness.chosen_rivals(options.rivals, RIVALS)
    table = Comparison(rivals)
    for name in options.networks.split(","):
        sides = Sides(name, options.threads)
        for batch in map(int, options.batches.split(",")):
            print(f"timing {name}, batch {batch}", file=sys.stderr)
            acts = sides.acts(batch, rivals)
            check(name, {key: np.array(act()) for key, act in acts.items()})
            table.add(name, batch, harness.alternate(acts, options.rounds))
        sides.close()
    table.print(f"images/s; {options.threads} threads, float32")


def check(name: str, scores: dict[str, Array]) -> None:
    """Exit if the sides compute different scores."""
    expected = scores["eager"] if "eager" in scores else scores["numpy"]
    for key, found in scores.items():
        error = np.abs(found - expected).max() / np.abs(expected).max()
        if not error < TOLERANCE:
            harness.fail(f"{name}: the scores of {key} are off by {error:.1e}")


class Sides:
    """One network in this program, in onnxruntime and in PyTorch, with the same weights."""

    def __init__(self, name: str, threads: int) -> None:
        import onnxruntime
        import torch
        from torch_twin import Twin
        from torch_twins import plain_layers

        if name not in NETWORKS:
            harness.fail(f"no network {name}; there are {', '.join(NETWORKS)}")
        side, model = NETWORKS[name]
        self.shape = (side, side, 3)
        config = validate_config({"model": model}, name)
        graph = build_graph(config.model, self.shape, CLASSES, name)
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        layers = plain_layers(plain_config(config)["model"]["layers"])
        twin = Twin(layers, 3, (side, side), CLASSES).eval()
        self._twin: Any = twin.to(memory_format=torch.channels_last)
        params = Parameters(graph, "float32")
        params.load(self._twin.state(), name)
        self._engines = {key: make_engine(graph, params, threads, key) for key in OURS}
        classifier = Classifier(
            path=Path(name),
            meta={"config": plain_config(config)},
            classes=tuple(map(str, range(CLASSES))),
            preprocess=Preprocess(side, side, 3),
            normalization=Normalization((0.0,) * 3, (1.0,) * 3),
            graph=graph,
            params=params,
            temperature=1.0,
        )
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        # Spinning threads would slow down the other sides.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            to_onnx(classifier, preprocessing=False, fold=True),
            settings,
            providers=["CPUExecutionProvider"],
        )

    def acts(self, batch: int, rivals: list[str]) -> dict[str, Callable[[], Array]]:
        """Return functions that predict a batch, by side."""
        import torch

        x = np.random.default_rng(0).standard_normal((batch, *self.shape)).astype(np.float32)
        tensor = torch.from_numpy(x).permute(0, 3, 1, 2)  # in channels_last layout
        image = np.ascontiguousarray(tensor.numpy())
        place = self._session.get_inputs()[0].name

        def torch_act(network: Any) -> Callable[[], Array]:
            def act() -> Array:
                with torch.inference_mode():
                    scores: Array = network(tensor).numpy()
                return scores

            return act

        acts: dict[str, Callable[[], Array]] = {
            key: lambda engine=engine: engine.predict(x)  # type: ignore[misc]  # the default
            for key, engine in self._engines.items()
        }
        if "onnxruntime" in rivals:
            acts["onnxruntime"] = lambda: self._session.run(None, {place: image})[0]
        if "eager" in rivals:
            acts["eager"] = torch_act(self._twin)
        if "compile" in rivals:
            torch.compiler.reset()
            acts["compile"] = torch_act(torch.compile(self._twin))
        return acts

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()


if __name__ == "__main__":
    main()
