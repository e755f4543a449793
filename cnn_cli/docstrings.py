"""Docstrings, which help, schema and pages are made of: `python -OO` leaves them out of memory."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable
from functools import cache
from typing import Any


def docstring(of: type | Callable[..., Any]) -> str:
    """What stands at the head of a class, not of what it extends, or of a function; or nothing.

    Without docstrings in memory it is read from the file of the source.
    """
    own = of.__dict__.get("__doc__") if isinstance(of, type) else of.__doc__
    # What is there all the same was computed; but of a dataclass Python writes its signature there.
    written = _from_source(of) if sys.flags.optimize > 1 else None
    return inspect.cleandoc(written or own or "")


def _from_source(of: Any) -> str | None:
    file = getattr(sys.modules.get(of.__module__), "__file__", None)
    return None if file is None else _docstrings(file).get(of.__qualname__)


@cache
def _docstrings(file: str) -> dict[str, str]:
    """Of the classes and functions of a file that are not within functions, by qualified name."""
    try:
        with open(file, "rb") as source:
            tree = ast.parse(source.read(), file)
    except (OSError, SyntaxError, ValueError):  # no source, as of extension modules
        return {}
    found: dict[str, str] = {}
    waiting: list[tuple[str, ast.AST]] = [("", tree)]
    while waiting:
        before, node = waiting.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef):
                name = before + child.name
                text = ast.get_docstring(child)
                if text is not None:
                    found[name] = text
                if isinstance(child, ast.ClassDef):
                    waiting.append((f"{name}.", child))
    return found
