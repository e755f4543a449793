"""Products in parts against NumPy's product of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from cnn_cli.nn.context import Workspace
from cnn_cli.nn.kernels.product import SMALL_PRODUCT, add_transposed, multiply
from cnn_cli.nn.types import Array, Shape

SHAPES = [
    # groups, rows, k, m: equal and unequal parts, one part, a weight too large for parts
    (1, 200, 50, 100),
    (1, 401, 50, 100),
    (1, 399, 50, 100),
    (3, 403, 60, 90),
    (1, 7, 5, 3),
    (2, 100, 150, 160),
    (1, 5000, 20, 30),
]


def make(*shapes: Shape) -> list[Array]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape) for shape in shapes]


def test_the_shapes_have_parts_and_remainders() -> None:
    parts = [rows * k * m / SMALL_PRODUCT for _, rows, k, m in SHAPES]
    assert any(part == 1 for part in parts)
    assert any(1 < part < 3 for part in parts)
    assert any(part < 0.1 for part in parts)


@pytest.mark.parametrize(("groups", "rows", "k", "m"), SHAPES)
def test_multiply(groups: int, rows: int, k: int, m: int) -> None:
    a, b = make((rows, groups, k), (groups, k, m))
    out = np.full((rows, groups, m), np.nan)
    by_group = a.transpose(1, 0, 2)
    multiply(by_group, b, out.transpose(1, 0, 2))
    np.testing.assert_allclose(out.transpose(1, 0, 2), by_group @ b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize(("groups", "rows", "k", "m"), SHAPES)
def test_add_transposed(groups: int, rows: int, k: int, m: int, fresh: bool) -> None:
    workspace = Workspace()
    a, b, before = make((rows, groups, k), (rows, groups, m), (k, groups, m))
    a, b = a.transpose(1, 0, 2), b.transpose(1, 0, 2)
    out = np.full_like(before, np.nan) if fresh else before.copy()
    scratch = lambda name, shape, dtype=None, /: workspace.scratch(name, shape, np.float64)  # noqa: E731 - short
    add_transposed(a, b, scratch, out.transpose(1, 0, 2), fresh)
    expected = a.transpose(0, 2, 1) @ b + (0 if fresh else before.transpose(1, 0, 2))
    np.testing.assert_allclose(out.transpose(1, 0, 2), expected, rtol=1e-12, atol=1e-11)
