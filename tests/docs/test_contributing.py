"""The diffs on the page `contributing` match the code."""

from __future__ import annotations

import re
from collections.abc import Iterator

import definitions
import numpy as np
import pytest
from make_pages import ROOT

from cnn_cli.cli.docs import page_text
from cnn_cli.nn.kernels import activation

DIFFS = re.findall(r"^```diff\n(.*?)^```$", page_text("contributing"), re.DOTALL | re.MULTILINE)
PLANNED = "mish"  # not in the code, so that readers can add it


def files(diff: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the path of each file in a diff, and its lines."""
    for part in re.split(r"^--- .*\n", diff, flags=re.MULTILINE)[1:]:
        first, *lines = part.splitlines()
        yield first.removeprefix("+++ b/"), [line for line in lines if line != "@@"]


def added(path: str) -> str:
    """Return what the diff of the planned activation adds to a file."""
    (diff,) = [diff for diff in DIFFS if PLANNED in diff]
    lines = dict(files(diff))[path]
    return "\n".join(line[1:] for line in lines if line.startswith("+"))


@pytest.mark.parametrize("diff", DIFFS, ids=lambda diff: str(diff).count("\n"))
def test_what_a_diff_shows_is_in_the_code(diff: str) -> None:
    """In order; for the planned activation only the existing context."""
    for path, lines in files(diff):
        there = iter((ROOT / path).read_text(encoding="utf-8").splitlines())
        shown = [line[1:] for line in lines if line[0] == " " or PLANNED not in diff]
        missing = [line for line in shown if line.strip() and line not in there]
        assert missing == [], path


def test_the_planned_activation_is_right() -> None:
    plain = dict(vars(definitions))
    exec(added("tests/support/definitions.py"), plain)
    kernels = dict(vars(activation))
    code, _, row = added("cnn_cli/nn/kernels/activation.py").partition("    # Misra")
    exec(code, kernels)
    function = eval(row.partition("\n")[2].strip().removesuffix(","), kernels)
    x = np.linspace(-4, 4, 9)
    y, dy = np.empty_like(x), np.ones_like(x)
    function.forward(x, y, lambda name, shape: np.empty(shape))
    function.backward(dy, x, lambda name, shape: np.empty(shape))
    np.testing.assert_allclose(y, [plain["mish"](each) for each in x], rtol=1e-12)
    np.testing.assert_allclose(dy, [plain["mish_derivative"](each) for each in x], rtol=1e-12)
