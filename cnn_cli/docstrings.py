"""Docstrings at run time: help, schema and pages are built from them, and `python -OO` drops
them.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, cast


def docstring(of: type | Callable[..., Any]) -> str:
    """Return the docstring of a function or of a class itself, not an inherited one; "" if it has
    none.

    Under `python -OO` it is read from the source file.
    """
    own = of.__dict__.get("__doc__") if isinstance(of, type) else of.__doc__
    # A dataclass without a docstring gets its signature as one.
    written = _from_source(of) if sys.flags.optimize > 1 else None
    return inspect.cleandoc(written or own or "")


def syntax_tree(source: str | bytes, file: str = "<source>") -> ast.Module:
    """Parse a module. From Python 3.14 on, `ast.parse` drops docstrings under `-OO`.

    Raises:
        SyntaxError, ValueError: the source is not Python.
    """
    return cast(ast.Module, compile(source, file, "exec", ast.PyCF_ONLY_AST, optimize=0))


def _from_source(of: Any) -> str | None:
    file = getattr(sys.modules.get(of.__module__), "__file__", None)
    return None if file is None else _docstrings(file).get(of.__qualname__)


@cache
def _docstrings(file: str) -> dict[str, str]:
    """Return the docstrings of a file's classes and functions by qualified name, without nested
    functions.
    """
    try:
        with open(file, "rb") as source:
            tree = syntax_tree(source.read(), file)
    except (OSError, SyntaxError, ValueError):  # extension modules have no source
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
