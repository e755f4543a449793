"""Whole networks against PyTorch's results (tests/golden/make.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import CASES, Case

from cnn_cli.config import validate_config
from cnn_cli.config.layers import LAYER_KINDS
from cnn_cli.config.network import build_graph
from cnn_cli.nn.kernels.interface import NUMPY, Kernels
from cnn_cli.nn.loss import target_weights
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.nn.types import Array
from cnn_cli.optim.groups import make_groups
from cnn_cli.optim.optimizers import make_optimizer

GOLDEN = Path(__file__).parent.parent / "golden"


class Twin:
    """Our side of a golden file."""

    def __init__(self, name: str, dtype: str, threads: int, kernels: Kernels = NUMPY) -> None:
        self.case: Case = CASES[name]
        with np.load(GOLDEN / f"{name}.npz") as file:
            self.golden: dict[str, Array] = dict(file)
        document: dict[str, Any] = {
            "model": {"layers": self.case.layers},
            "train": {
                "optimizer": self.case.optimizer,
                "layer_decay": self.case.layer_decay,
                "dtype": dtype,
            },
        }
        self.config = validate_config(document, name)
        graph = build_graph(self.config.model, self.case.in_shape, self.case.classes, name)
        self.params = Parameters(graph, dtype)
        self.params.load(self.part("before"), name)
        self.engine = TrainingEngine(graph, self.params, threads=threads, kernels=kernels)
        groups = make_groups(self.params, self.config.train.rules)
        self.optimizer = make_optimizer(self.config.train.optimizer, self.params, groups)
        self.x = self.golden["x"].astype(dtype)
        weights = self.case.class_weights
        self.targets, self.divisor = target_weights(
            self.golden["labels"],
            self.case.classes,
            label_smoothing=self.case.label_smoothing,
            class_weights=None if weights is None else np.array(weights),
            dtype=dtype,
        )

    def part(self, prefix: str) -> dict[str, Array]:
        start = len(prefix) + 1
        return {
            key[start:]: value for key, value in self.golden.items() if key.startswith(f"{prefix}/")
        }

    def state(self) -> dict[str, Array]:
        return self.params.named() | self.params.named_buffers()

    def step(self, number: int) -> tuple[float, Array]:
        loss, logits = self.engine.train_step(self.x, self.targets, self.divisor, step=number)
        gradient = self.engine.gradient.copy()
        self.optimizer.step(self.engine.gradient, self.config.train.optimizer.lr)
        self.last_gradient = gradient
        return loss, logits


def assert_close(ours: dict[str, Array], theirs: dict[str, Array], tolerance: float) -> None:
    """Assert that each tensor is within `tolerance` of its largest value; the floor is for biases
    before a batchnorm, whose gradients are rounding errors.
    """
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        limit = tolerance * max(float(np.abs(expected).max()), 1e-6)
        np.testing.assert_allclose(ours[name], expected, rtol=0, atol=limit, err_msg=name)


@pytest.mark.parametrize(
    ("kernels", "threads"), [("numpy", 1), ("numpy", 2), ("numpy", 3), ("fast", 2)]
)
@pytest.mark.parametrize("name", CASES)
def test_float64_training_is_pytorchs(
    backend: Callable[[str], Kernels], name: str, kernels: str, threads: int
) -> None:
    twin = Twin(name, "float64", threads, backend(kernels))
    with twin.engine:
        logits = twin.engine.predict(twin.x)
        np.testing.assert_allclose(logits, twin.golden["logits_evaluation"], rtol=0, atol=1e-12)
        losses = []
        for step in range(10):
            loss, logits = twin.step(step)
            losses.append(loss)
            if step == 0:
                expected = twin.golden["logits_training"]
                np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-11)
                gradients = twin.params.named(twin.engine.gradient_views)
                assert_close(gradients, twin.part("gradient"), 1e-9)
            if step == 2:
                assert_close(twin.state(), twin.part("after3"), 1e-7)
        np.testing.assert_allclose(losses, twin.golden["losses"], rtol=1e-9)
        assert_close(twin.state(), twin.part("after10"), 1e-7)


@pytest.mark.parametrize("kernels", ["numpy", "fast"])
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.smooth])
def test_float32_training_of_smooth_networks_stays_close(
    backend: Callable[[str], Kernels], name: str, kernels: str
) -> None:
    twin = Twin(name, "float32", 2, backend(kernels))
    with twin.engine:
        for step in range(3):
            twin.step(step)
        assert_close(twin.state(), twin.part("after3"), 1e-4)


def test_every_layer_of_the_config_is_in_a_golden_file() -> None:
    text = repr([case.layers for case in CASES.values()])
    assert [kind for kind in LAYER_KINDS if f"'{kind}'" not in text] == []
