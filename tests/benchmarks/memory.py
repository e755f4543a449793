"""Peak memory of training compared with PyTorch's: `python tests/benchmarks/memory.py`.

Each number is the peak resident set of a separate process, including its program.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

import harness
from benchmark_networks import NETWORKS

STEPS = 5
SIDES = ("ours", "default", "channels_last")
UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
HEADER = ("network", "batch", *SIDES, "ratio", "foretold", "ours / foretold")


def main() -> None:
    parser = harness.arguments("Compares the peak memory of training.")
    training = [name for name, network in NETWORKS.items() if not network.predicts]
    harness.add_backend(parser)
    harness.add_networks(parser, ",".join(training))
    parser.add_argument("--recompute", action="store_true", help="as train.recompute: true")
    parser.add_argument("--child", choices=SIDES, help="train this side here; for its own use")
    options = parser.parse_args()
    names = harness.chosen(options.networks)
    if options.child is not None:
        child(options, names[0])
        return
    harness.prepare()
    rows = []
    for name in names:
        command = [sys.executable, __file__, *sys.argv[1:], "--networks", name]
        peaks, answers = zip(*(peak([*command, "--child", side]) for side in SIDES), strict=True)
        foretold = json.loads(answers[0])
        ratio = peaks[0] / min(peaks[1:])
        megabytes = [f"{value / 1e6:,.0f}" for value in (*peaks, foretold)]
        cells = (*megabytes[:-1], f"{ratio:.2f}", megabytes[-1], f"{peaks[0] / foretold:.2f}")
        rows.append((name, str(NETWORKS[name].batch), *cells))
    # Imported late, because a child process begins with its parent's memory.
    from cnn_cli.report.text.table import format_table

    print(f"peak MB; {options.threads} threads, {options.backend}, float32\n")
    print(format_table(HEADER, rows, "lrrrrrrr"), end="")


def peak(command: list[str]) -> tuple[int, str]:
    """Return the peak memory of a process in bytes, and its output."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        harness.fail(f"{' '.join(command)} failed")
    return usage.ru_maxrss * UNIT, output


def child(options: argparse.Namespace, name: str) -> None:
    """Run a few training steps; our side prints its estimate of memory."""
    network, side, threads = NETWORKS[name], options.child, options.threads
    if side != "ours":
        sys.path.append(str(harness.GOLDEN))
        from harness import Way
        from torch_twins import make_twin

        theirs = make_twin(network, Way(side), threads)
        for _ in range(STEPS):
            theirs.step()
        return
    from ours import Ours, build

    from cnn_cli.nn.backends import choose_backend
    from cnn_cli.nn.memory import training_bytes

    config, graph = build(name, network)
    ours = Ours(name, network, None, threads, options.backend, recompute=options.recompute)
    for _ in range(STEPS):
        ours.step()
    backend = choose_backend(options.backend)
    print(training_bytes(graph, config.train, threads, backend, recompute=options.recompute))


if __name__ == "__main__":
    main()
