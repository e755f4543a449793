"""Training and prediction against PyTorch: `python tests/benchmarks/train.py`."""

from __future__ import annotations

import sys

import harness
import numpy as np
from benchmark_networks import NETWORKS, Network
from harness import Side

from cnn_cli.report.text.table import format_table

CHECK_STEPS = 3
# Of the loss. A single ReLU that falls the other way moves later losses.
FIRST_TOLERANCE, LATER_TOLERANCE = 1e-5, 2e-3
HEADER = ("network", "batch", "ours", "default", "channels_last", "ours, ms", "ratio")


def main() -> None:
    parser = harness.arguments("Times networks against their PyTorch twins.")
    harness.add_networks(parser, ",".join(NETWORKS))
    options = parser.parse_args()
    names = harness.chosen(options.networks)
    harness.prepare()
    from ours import Ours
    from torch_twins import make_twins

    rows = []
    for name in names:
        print(f"timing {name}", file=sys.stderr)
        network = NETWORKS[name]
        twins = make_twins(network, options.threads)
        weights = twins["default"].weights()
        ours = Ours(name, network, weights, options.threads, options.backend)
        rows.append(_row(name, network, {"ours": ours, **twins}, options.rounds))
        ours.close()
    table = format_table(HEADER, rows, "lrrrrrr")
    print(f"images/s; {options.threads} threads, {options.backend}, float32\n\n{table}", end="")


def _row(name: str, network: Network, sides: dict[str, Side], rounds: int) -> tuple[str, ...]:
    check(name, network, sides)
    acts = {key: side.predict if network.predicts else side.step for key, side in sides.items()}
    seconds = harness.alternate(acts, rounds)
    rates = [network.batch / seconds[key] for key in acts]
    ratio = rates[0] / max(rates[1:])
    figures = (*(f"{rate:,.1f}" for rate in rates), f"{1e3 * seconds['ours']:.2f}", f"{ratio:.2f}")
    return (name, str(network.batch), *figures)


def check(name: str, network: Network, sides: dict[str, Side]) -> None:
    """End the program where the sides do not compute the same."""
    if network.predicts:
        logits = {key: np.array(side.predict()) for key, side in sides.items()}
        largest = np.abs(logits["default"]).max()
        for key, scores in logits.items():
            error = np.abs(scores - logits["ours"]).max() / largest
            if not error < 1e-4:
                harness.fail(f"{name}: the logits of ours and {key} differ by {error:.1e}")
        return
    for step in range(CHECK_STEPS):
        losses = {key: side.step() for key, side in sides.items()}
        tolerance = LATER_TOLERANCE if step else FIRST_TOLERANCE
        for key, theirs in losses.items():
            difference = abs(theirs - losses["ours"]) / theirs
            if not difference < tolerance:
                text = f"the losses of ours and {key} at step {step + 1} differ by {difference:.1e}"
                harness.fail(f"{name}: {text}")


if __name__ == "__main__":
    main()
