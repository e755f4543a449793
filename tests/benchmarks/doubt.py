"""How many planted label errors `cnn data doubt` finds: `python tests/benchmarks/doubt.py CONFIG
DIR`.

A fraction of the labels of a folder's images is replaced at random. The resulting list is trained
in folds, and the doubtful labels are compared with the replaced ones. Further arguments are passed
to the command, such as `train.epochs=6`.
"""

from __future__ import annotations

import argparse
import csv
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from cnn_cli.data.opening import open_labeled
from cnn_cli.data.roots import training_classes


def main() -> None:
    parser = argparse.ArgumentParser(description="Plants wrong labels and looks for them.")
    parser.add_argument("config", help="of the networks")
    parser.add_argument("data", type=Path, help="class folders, or parts of them")
    parser.add_argument("--share", type=float, default=0.05, help="of the labels; default: 0.05")
    parser.add_argument("--seed", type=int, default=0, help="which of them; default: 0")
    options, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        planted = plant(options.data, Path(folder, "labels.csv"), options.share, options.seed)
        found = Path(folder, "doubts.csv")
        line = ["data", "doubt", options.config, "--data", Path(folder, "labels.csv")]
        line += ["--out", Path(folder, "run"), "--output", found, *more]
        command = [sys.executable, "-m", "cnn_cli", *map(str, line)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with found.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    hits = [row["path"] in planted for row in rows]
    restored = sum(planted.get(row["path"]) == row["suggested"] for row in rows)
    print(f"planted    {len(planted):,}")
    print(f"doubted    {len(rows):,}")
    print(f"precision  {sum(hits) / max(len(hits), 1):.4f}")
    print(f"recall     {sum(hits) / len(planted):.4f}")
    for most in (len(planted) // 2, len(planted)):
        first = hits[:most]
        print(f"precision of the first {most:,}  {sum(first) / max(len(first), 1):.4f}")
    print(f"given their own label  {restored:,} of {sum(hits):,}")


def plant(data: Path, path: Path, share: float, seed: int) -> dict[str, str]:
    """Write a label list with wrong labels; return the changed images and their true labels."""
    classes = training_classes(data, None)
    images = open_labeled(data.resolve(), classes, "all")
    rng = random.Random(seed)
    order = sorted(range(len(images)), key=images.paths.__getitem__)
    chosen = set(rng.sample(order, round(share * len(images))))
    planted = {}
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label"])
        for i in order:
            own = classes[int(images.labels[i])]
            if i in chosen:
                planted[images.paths[i]] = own
            others = [name for name in classes if name != own]
            table.writerow([images.paths[i], rng.choice(others) if i in chosen else own])
    return planted


if __name__ == "__main__":
    main()
