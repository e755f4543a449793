"""The formats of `cnn predict`: rows become text as they come, so that any number of them fits."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from cnn_cli.cli.shared.output import json_line

FORMATS = ("text", "json", "jsonl", "csv")

# Control characters, and what some programs take for the end of a line.
_ESCAPES = {
    code: chr(code).encode("unicode_escape").decode()
    for code in (*range(32), *range(127, 160), 0x2028, 0x2029)
}


@dataclass(frozen=True, slots=True)
class Row:
    """What is said of one image.

    Attributes:
        path: as typed, joined with the name below it.
        label: of the likeliest class; None below `--min-prob`.
        prob: its probability; None where the image could not be read.
        topk: the likeliest classes and their probabilities, best first.
        error: why the image could not be read.
    """

    path: str
    label: str | None = None
    prob: float | None = None
    topk: tuple[tuple[str, float], ...] = ()
    error: str | None = None


class Format(Protocol):
    """Turns rows into text."""

    def start(self) -> str:
        """What comes first."""

    def row(self, row: Row) -> str:
        """A row's text; empty where the format has none for it."""

    def end(self) -> str:
        """What comes last."""


class Text:
    """A line an image: path, label and probability between tabs; failures are left out."""

    def start(self) -> str:
        return ""

    def row(self, row: Row) -> str:
        if row.prob is None:
            return ""
        cells = (row.path, row.label or "", f"{row.prob:.6f}")
        return "\t".join(cell.translate(_ESCAPES) for cell in cells) + "\n"

    def end(self) -> str:
        return ""


class JsonLines:
    """A JSON object a line."""

    def start(self) -> str:
        return ""

    def row(self, row: Row) -> str:
        return json_line(_as_dict(row)) + "\n"

    def end(self) -> str:
        return ""


class JsonArray:
    """The same objects as one array, an element a line."""

    def __init__(self) -> None:
        self._before = "\n"

    def start(self) -> str:
        return "["

    def row(self, row: Row) -> str:
        before, self._before = self._before, ",\n"
        return before + json_line(_as_dict(row))

    def end(self) -> str:
        return "]\n" if self._before == "\n" else "\n]\n"


class Csv:
    """Comma-separated values under a header, as RFC 4180 quotes them, with plain line ends."""

    def start(self) -> str:
        return _csv_line("path", "label", "prob", "error")

    def row(self, row: Row) -> str:
        prob = "" if row.prob is None else f"{row.prob:.6f}"
        return _csv_line(row.path, row.label or "", prob, row.error or "")

    def end(self) -> str:
        return ""


def make_format(name: str) -> Format:
    """The format of that name, one of `FORMATS`."""
    kinds: dict[str, Callable[[], Format]] = {
        "text": Text,
        "json": JsonArray,
        "jsonl": JsonLines,
        "csv": Csv,
    }
    return kinds[name]()


def _as_dict(row: Row) -> dict[str, Any]:
    if row.error is not None:
        return {"path": row.path, "error": row.error}
    return {
        "path": row.path,
        "label": row.label,
        "prob": row.prob,
        "topk": [{"label": label, "prob": prob} for label, prob in row.topk],
    }


def _csv_line(*cells: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
