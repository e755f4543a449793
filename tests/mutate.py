"""Mutation testing: small changes to the code, each of which a test should detect.

    python tests/mutate.py [--count 60] [--seed 0] [--parts nn training data cli]

Changes are drawn at random, equally many from each part: another sign, bound, constant or branch,
or a removed call. For each one, the tests that import the changed module and those named after it
run in a copy of the repository until the first failure; then, if none fails, the other tests of its
part. The script prints each change with its place and the test that detected it. If no test did,
one is missing, or the change has no observable effect.

Run the suite first: a test that always fails would detect all changes.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "cnn_cli"
LIMIT = 1800  # seconds for the tests of one change; a change that hangs counts as detected
OTHER = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "+",
    ast.Div: "*",
    ast.FloorDiv: "+",
    ast.And: "or",
    ast.Or: "and",
}


@dataclass(frozen=True, slots=True)
class Change:
    """A replacement of one place in a file.

    Attributes:
        file: relative to the repository.
        start, end: the place, in characters.
    """

    file: Path
    start: int
    end: int
    new: str

    def apply(self, text: str) -> str:
        return text[: self.start] + self.new + text[self.end :]

    def describe(self) -> str:
        text = (ROOT / self.file).read_text(encoding="utf-8")
        line = text.count("\n", 0, self.start) + 1
        return f"{self.file}:{line}: {text[self.start : self.end]!r} -> {self.new!r}"


class Places:
    """Maps nodes of a syntax tree to places in its text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._lines = [0]
        for line in text.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))

    def _at(self, line: int, column: int) -> int:
        start = self._lines[line - 1]
        encoded = self.text[start : self._lines[line]].encode()
        return start + len(encoded[:column].decode())

    def start(self, node: ast.expr | ast.stmt) -> int:
        return self._at(node.lineno, node.col_offset)

    def end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._at(node.end_lineno, node.end_col_offset)


def changes_of(file: Path) -> list[Change]:
    """Return all possible changes to a file, in the order of its text."""
    text = (ROOT / file).read_text(encoding="utf-8")
    places = Places(text)
    found = []
    for node in executed(ast.parse(text)):
        for start, end, new in alternatives(node, places):
            found.append(Change(file, start, end, new))
    return sorted(found, key=lambda change: change.start)


def executed(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that are executed: no annotations, and nothing for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.FunctionDef):
            parts: list[ast.AST] = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
            inner = ast.Module([*node.body], [])
            yield from executed(inner)
            for part in parts:
                yield part
                yield from executed(part)
            continue
        if isinstance(node, ast.AnnAssign):
            if node.value is not None:
                yield node.value
                yield from executed(node.value)
            continue
        yield node
        yield from executed(node)


def alternatives(node: ast.AST, places: Places) -> Iterator[tuple[int, int, str]]:
    """Yield alternative texts for a node: start, end, and text."""
    match node:
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            yield from between(left, operator, right, places)
        case ast.BinOp(left=left, op=operator, right=right):
            if not (isinstance(left, ast.Constant) and isinstance(left.value, str)):
                yield from between(left, operator, right, places)
        case ast.BoolOp(op=operator, values=[left, right, *_]):
            yield from between(left, operator, right, places)
        case ast.UnaryOp(op=ast.Not() | ast.USub() as operator):
            length = len("not" if isinstance(operator, ast.Not) else "-")
            yield places.start(node), places.start(node) + length, ""
        case ast.Constant(value=bool(value)):
            yield places.start(node), places.end(node), str(not value)
        case ast.Constant(value=int(value)):
            yield places.start(node), places.end(node), str(value + 1)
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            text = places.text[places.start(test) : places.end(test)]
            yield places.start(test), places.end(test), f"not ({text})"
        case ast.Expr(value=ast.Call()):
            yield places.start(node), places.end(node), "pass"


def between(
    left: ast.expr, operator: ast.AST, right: ast.expr, places: Places
) -> Iterator[tuple[int, int, str]]:
    """Yield the expression with the opposite operator, if there is one."""
    new = OTHER.get(type(operator))
    start, end = places.end(left), places.start(right)
    found = re.search(r"(not\s+in|is\s+not|[<>=!]=?|//|[-+*/]|\w+)", places.text[start:end])
    if new is not None and found is not None:
        yield start + found.start(), start + found.end(), new


def drawn(parts: list[str], count: int, seed: int) -> list[Change]:
    """Draw the changes: equally many from each part, all equally likely."""
    rng = random.Random(seed)
    chosen = []
    for number, part in enumerate(parts):
        files = sorted((ROOT / PACKAGE / part).rglob("*.py"))
        every = [change for file in files for change in changes_of(file.relative_to(ROOT))]
        share = (count + number) // len(parts)
        chosen += rng.sample(every, share)
    return chosen


def tests_of(change: Change) -> list[list[str]]:
    """Return test files, most relevant first: those that import the changed module or are named
    after it, those that import its package, and all of its part.
    """
    parts = change.file.with_suffix("").parts
    module, package = ".".join(parts), ".".join(parts[:-1])
    name = parts[-1].strip("_")
    imported = re.compile(
        rf"{re.escape(module)}\b|from {re.escape(package)} import [^\n]*\b{parts[-1]}\b"
    )
    near, beside = [], []
    for test in sorted((ROOT / "tests").rglob("test_*.py")):
        path, text = str(test.relative_to(ROOT)), test.read_text(encoding="utf-8")
        if name in test.stem or imported.search(text):
            near.append(path)
        elif len(parts) > 3 and package in text:
            beside.append(path)
    near.sort(key=lambda path: Path(path).parts[1] != parts[1])  # its own part's first
    return [near, beside, [f"tests/{parts[1]}"]]


def left_out(folder: str, names: list[str]) -> set[str]:
    """Return what a copy of the repository does not need: caches, history, and runs."""
    found = shutil.ignore_patterns(".*_cache", "__pycache__")(folder, names)
    return found | ({".git", "runs"} if Path(folder) == ROOT else set())


def noticed(copy: Path, tests: list[str]) -> str:
    """Return the first of the tests that fails in a copy of the repository, or ""."""
    if not tests:
        return ""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    line = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            line,
            cwd=copy,
            env=environment,
            capture_output=True,
            timeout=LIMIT,
            check=False,
            text=True,
        )
    except subprocess.TimeoutExpired:
        return "the time limit"
    if done.returncode == 0:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return f"{tests[0]} and others" if failed is None else failed[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", nargs="+", default=["nn", "training", "data", "cli"])
    parser.add_argument("--list", action="store_true", help="only print the changes")
    given = parser.parse_args()
    changes = drawn(given.parts, given.count, given.seed)
    if given.list:
        print("\n".join(change.describe() for change in changes))
        return
    caught = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=left_out)
        for change in changes:
            began = time.monotonic()
            original = (copy / change.file).read_text(encoding="utf-8")
            (copy / change.file).write_text(change.apply(original), encoding="utf-8")
            found = next(filter(None, (noticed(copy, each) for each in tests_of(change))), "")
            (copy / change.file).write_text(original, encoding="utf-8")
            caught += bool(found)
            took = f"{time.monotonic() - began:4.0f} s"
            end = f"caught by {found}" if found else "SURVIVED"
            print(f"{took}  {change.describe()}  {end}", flush=True)
    print(f"{caught} of {len(changes)} changes were caught")


if __name__ == "__main__":
    main()
