"""Time the nearest-neighbor search of `cnn similar`: `python tests/benchmarks/similar.py`.

Random features are stored in an index as `cnn embed` writes it; NumPy, for comparison, has them in
memory.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import harness
import numpy as np
from threadpoolctl import threadpool_limits

from cnn_cli.inference.index import Index, write_index
from cnn_cli.nn.types import Array
from cnn_cli.report.text.table import format_table

BLOCK, TOPK = 10_000, 5


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the search in an index.")
    parser.add_argument("--pictures", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=512, help="numbers of a picture")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="with room for twice the features")
    options = parser.parse_args()
    harness.prepare(torch_is_needed=False)
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        path = Path(temporary) / "index.npz"
        with path.open("wb") as file:
            found = batches(options.pictures, options.width)
            write_index(file, found, {"checkpoint": "none"}, Path(temporary))
        query = np.random.default_rng(1).standard_normal(options.width).astype(np.float32)
        opening = harness.seconds_of(lambda: Index.open(path))
        index = Index.open(path)
        first = harness.seconds_of(lambda: nearest(index, query, options.threads))
        memory = np.array(index.features)
        norms = np.array(index.norms)
        check(index, memory, norms, query, options.threads)
        acts = {
            "cnn similar": lambda: nearest(index, query, options.threads),
            "NumPy, features in memory": lambda: plain(memory, norms, query),
        }
        seconds = harness.alternate(acts, options.rounds)
    rows = [("open the index", f"{1e3 * opening:.1f}"), ("the first search", f"{1e3 * first:.1f}")]
    rows += [(name, f"{1e3 * taken:.1f}") for name, taken in seconds.items()]
    print(f"{options.pictures:,} pictures of {options.width} numbers, {options.threads} threads\n")
    print(format_table(("what", "ms"), rows, "lr"), end="")


def batches(pictures: int, width: int) -> Iterator[tuple[list[str], Array]]:
    rng = np.random.default_rng(0)
    for start in range(0, pictures, BLOCK):
        names = [f"pictures/{i:08}.jpg" for i in range(start, min(start + BLOCK, pictures))]
        yield names, rng.standard_normal((len(names), width), np.float32)


def nearest(index: Index, query: Array, threads: int) -> list[tuple[str, float]]:
    """Search as `cnn similar` does, with one BLAS thread."""
    with threadpool_limits(1, user_api="blas"):
        return index.nearest(query, TOPK, threads)


def plain(features: Array, norms: Array, query: Array) -> Array:
    """Search in plain NumPy."""
    cosines = features @ query / (norms * np.linalg.norm(query))
    near = np.argpartition(-cosines, TOPK)[:TOPK]
    ordered: Array = near[np.argsort(-cosines[near])]
    return ordered


def check(index: Index, features: Array, norms: Array, query: Array, threads: int) -> None:
    """Exit if the two find different images."""
    ours = [path for path, _ in nearest(index, query, threads)]
    theirs = [os.fsdecode(bytes(index.paths[i])) for i in plain(features, norms, query)]
    if ours != theirs:
        harness.fail(f"the nearest differ: {ours} and {theirs}")


if __name__ == "__main__":
    main()
