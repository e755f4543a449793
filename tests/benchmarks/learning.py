"""Compare a run's learning with PyTorch's: `python tests/benchmarks/learning.py RUN`.

The PyTorch twin of a finished run's network starts from the same weights, sees the same batches at
the same learning rates, and is evaluated on the same images; the results are printed side by side.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import harness

from cnn_cli.config import load_config
from cnn_cli.report.text.table import format_table

FIGURES = ("train_loss", "train_top1", "val_loss", "val_top1")


def main() -> None:
    parser = argparse.ArgumentParser(description="Trains PyTorch's twin of a run beside it.")
    parser.add_argument("run", type=Path, help="the folder that cnn train wrote")
    parser.add_argument("--threads", type=int, default=2, help="PyTorch's; default: 2")
    options = parser.parse_args()
    harness.prepare()
    from torch_learner import Learner

    path = options.run / "config.yaml"
    config = load_config(path)
    with (options.run / "metrics.csv").open() as file:
        ours = list(csv.DictReader(file))
    learner = Learner(config, str(path), options.threads)
    rows = []
    for row in ours:
        figures = learner.epoch(int(row["epoch"]) - 1)
        pairs = [(f"{float(row[key]):.4f}", f"{figures[key]:.4f}") for key in FIGURES]
        rows.append((row["epoch"], *(text for pair in pairs for text in pair)))
        print(f"epoch {row['epoch']} of {len(ours)}", file=sys.stderr)
    header = ("epoch", *(text for key in FIGURES for text in (f"{key}: ours", "PyTorch")))
    print(format_table(header, rows, "r" * len(header)), end="")


if __name__ == "__main__":
    main()
