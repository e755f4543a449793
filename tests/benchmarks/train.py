"""Training and prediction against PyTorch: `python tests/benchmarks/train.py`.

All sides run in one process, on one batch of random numbers in memory, and take turns.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence

import harness
import numpy as np
from benchmark_networks import NETWORKS, Network
from harness import OURS, WAYS, Comparison, Side

CHECK_STEPS = 3
# Of the loss. A single ReLU that switches differently changes later losses.
FIRST_TOLERANCE, LATER_TOLERANCE = 1e-5, 2e-3
BFLOAT16_TOLERANCE = 2e-2  # its numbers are rounded to 2**-9 of themselves
LOGITS_TOLERANCE = 1e-4  # of the largest
BEATEN = 3.0  # where bfloat16 is emulated it takes ten times as long


def main() -> None:
    parser = harness.arguments("Times networks against their PyTorch twins.")
    harness.add_networks(parser, ",".join(NETWORKS))
    harness.add_rivals(parser, WAYS)
    options = parser.parse_args()
    names = harness.chosen(options.networks)
    harness.prepare()
    rivals = harness.chosen_rivals(options.rivals, WAYS)
    table = Comparison(rivals)
    try:
        for name in names:
            table.add(name, NETWORKS[name].batch, measure(name, options, rivals))
    finally:  # also after Ctrl-C, with the rows so far
        table.print(f"images/s; {options.threads} threads; ours in float32")


def measure(name: str, options: argparse.Namespace, rivals: Sequence[str]) -> Mapping[str, float]:
    """Return the seconds of a step of each side, after checking that they compute the same."""
    from ours import Ours
    from torch_twins import make_twins

    network, start = NETWORKS[name], time.perf_counter()
    twins = make_twins(network, options.threads, rivals)
    weights = twins[rivals[0]].weights()
    ours = {key: Ours(name, network, weights, options.threads, key) for key in OURS}
    sides: dict[str, Side] = {**ours, **twins}
    check(name, network, sides)
    ready = time.perf_counter()
    acts = {key: side.predict if network.predicts else side.step for key, side in sides.items()}
    seconds = harness.alternate(acts, options.rounds, least=1, beaten=BEATEN)
    for side in ours.values():
        side.close()
    taken = time.perf_counter() - ready
    print(f"{name}: ready in {ready - start:.0f} s, timed in {taken:.0f} s", file=sys.stderr)
    return seconds


def check(name: str, network: Network, sides: dict[str, Side]) -> None:
    """Exit if the sides compute different results."""
    if network.predicts:
        logits = {key: np.array(side.predict()) for key, side in sides.items()}
        largest = np.abs(logits[OURS[0]]).max()
        for key, scores in logits.items():
            error = np.abs(scores - logits[OURS[0]]).max() / largest
            if not error < _tolerance(key, LOGITS_TOLERANCE):
                harness.fail(f"{name}: the logits of {OURS[0]} and {key} differ by {error:.1e}")
        return
    for step in range(CHECK_STEPS):
        losses = {key: side.step() for key, side in sides.items()}
        for key, loss in losses.items():
            tolerance = _tolerance(key, LATER_TOLERANCE if step else FIRST_TOLERANCE)
            difference = abs(loss - losses[OURS[0]]) / losses[OURS[0]]
            if not difference < tolerance:
                text = f"the losses of {OURS[0]} and {key} at step {step + 1} differ by"
                harness.fail(f"{name}: {text} {difference:.1e}")


def _tolerance(side: str, of_float32: float) -> float:
    return BFLOAT16_TOLERANCE if side in WAYS and WAYS[side].bfloat16 else of_float32


if __name__ == "__main__":
    main()
