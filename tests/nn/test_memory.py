"""Estimated memory compared with what training takes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

CONV = {"conv": {"out_channels": 32, "kernel_size": 3, "padding": 1}}
WIDE = {"conv": {"out_channels": 256, "kernel_size": 3, "padding": 1}}
NETWORKS: dict[str, tuple[list[Any], int, int]] = {
    "batchnorm": ([CONV, "batchnorm", "relu", CONV, "batchnorm", "relu"], 64, 64),
    "plain": ([CONV, "relu", {"maxpool": 2}, CONV, "relu"], 128, 32),
    "deep": ([*[CONV, "batchnorm", "relu"] * 8], 64, 64),
    "narrowing": ([*[CONV, "batchnorm", "relu"] * 2, {"maxpool": 2}] * 3, 64, 64),
    "residual": ([CONV, *[{"residual": {"layers": [CONV, "batchnorm"]}}, "relu"] * 6], 64, 32),
    "filters": ([CONV, *[WIDE, "batchnorm", "relu"] * 6], 8, 16),
    "weights": ([{"maxpool": 4}, {"linear": 4000}, "relu", {"linear": 3000}], 64, 8),
}

MEASURE = """
import json, re, sys
from pathlib import Path
import numpy as np
from cnn_cli.config import validate_config
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.config.network import build_graph
from cnn_cli.nn.fuse import kernel_kinds
from cnn_cli.nn.backends import load_backend
from cnn_cli.nn.loss import target_weights
from cnn_cli.nn.memory import training_bytes
from cnn_cli.nn.params import Parameters
from cnn_cli.training import trainer
from cnn_cli.optim.optimizers import make_optimizer

layers, size, batch_size = json.loads(sys.argv[1])
backend, recompute = sys.argv[2], sys.argv[3] == "True"
layers += ["global_avgpool"] * (len(layers) > 4) + [{"linear": "classes"}]
document = {"model": {"layers": layers}, "train": {"batch_size": batch_size}}
config = validate_config(document, "x")
graph = build_graph(config.model, (size, size, 3), 4, "x")
params = Parameters(graph, "float32")
optimizer = make_optimizer(config.train.optimizer, params)
images = np.ones((batch_size, size, size, 3), np.uint8)
targets, divisor = target_weights(np.zeros(batch_size, np.int64), 4)
kernels = load_backend(backend, kinds=kernel_kinds(graph))
with TrainingEngine(
    graph, params, threads=2, kernels=kernels, batch_size=batch_size, recompute=recompute
) as engine:
    for step in range(3):
        engine.train_step(images, targets, divisor, step=step)
        optimizer.step(engine.gradient, 0.01)
    evaluated = params.copy() if config.train.estimates_statistics else params
    engine.predict(images, evaluated)
# Not ru_maxrss, which begins with what the parent had when it forked.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
foretold = training_bytes(graph, config.train, 2, backend, recompute=recompute)
print(json.dumps([foretold, peak]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("name", "backend", "recompute"),
    [
        *((name, "numpy", False) for name in NETWORKS),
        *((name, "numpy", True) for name in ("deep", "narrowing", "residual")),
        ("batchnorm", "fast", False),
    ],
)
def test_estimate_is_within_a_quarter(name: str, backend: str, recompute: bool) -> None:
    if backend == "fast":
        pytest.importorskip("numba")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(NETWORKS[name]), backend, str(recompute)],
        capture_output=True,
        text=True,
        check=True,
    )
    estimate, kilobytes = json.loads(done.stdout)
    assert estimate / (1024 * kilobytes) == pytest.approx(1, abs=0.25)
