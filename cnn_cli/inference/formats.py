"""Predictions as text: lines, JSON, CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from cnn_cli import safe_csv, strict_json
from cnn_cli.errors import printable
from cnn_cli.inference.predictor import Prediction
from cnn_cli.structs import Struct

FORMATS = ("text", "json", "jsonl", "csv")
UNKNOWN = "unknown"  # what a line says of an image that was refused


class Columns(Struct):
    """What a format tells beyond path, label, probability and error.

    Attributes:
        topk: how many of the likeliest classes a CSV file lists.
        probs: the classes whose probabilities are told.
        stamp: size and time of the file.
        file: where it was put.
        separator: of several labels of an image.
        rejects: the network may refuse an image.
    """

    topk: int = 0
    probs: Sequence[str] = ()
    stamp: bool = False
    file: bool = False
    separator: str = "|"
    rejects: bool = False


class Format(Protocol):
    """Turns rows into text."""

    def __init__(self, columns: Columns) -> None: ...

    def start(self) -> str:
        """What comes first."""

    def row(self, row: Prediction) -> str:
        """A row's text; empty where the format has none for it."""

    def end(self) -> str:
        """What comes last."""


class Text:
    """A line an image: path, label and probability between tabs; failures are left out."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def start(self) -> str:
        return ""

    def row(self, row: Prediction) -> str:
        if row.prob is None:
            return ""
        numbers = (f"{prob:.6f}" for prob in (row.probs or ()))
        prob = _joined(row, self._columns.separator) if row.labels is not None else None
        label = UNKNOWN if row.rejected else row.label or ""
        cells = [row.path, label, f"{row.prob:.6f}" if prob is None else prob, *numbers]
        if self._columns.file:
            cells.append(row.file or "")
        return "\t".join(map(printable, cells)) + "\n"

    def end(self) -> str:
        return ""


class JsonLines:
    """A JSON object a line."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def start(self) -> str:
        return ""

    def row(self, row: Prediction) -> str:
        return strict_json.dumps(self._as_dict(row)) + "\n"

    def end(self) -> str:
        return ""

    def _as_dict(self, row: Prediction) -> dict[str, Any]:
        columns, found = self._columns, dict[str, Any](path=row.path)
        if columns.stamp:
            found |= {"size": row.size, "time": row.time}
        if row.error is not None:
            found["error"] = row.error
        else:
            topk = [{"label": label, "prob": prob} for label, prob in row.topk]
            if row.labels is None:
                found |= {"label": row.label, "prob": row.prob}
            else:
                found["labels"] = [{"label": label, "prob": prob} for label, prob in row.labels]
            if row.rejected:
                found["rejected"] = True
            found["topk"] = topk
        if row.probs is not None:
            found["probs"] = dict(zip(columns.probs, row.probs, strict=True))
        if columns.file:
            found["file"] = row.file
        return found


class JsonArray(JsonLines):
    """The same objects as one array, an element a line."""

    _before = "\n"

    def start(self) -> str:
        return "["

    def row(self, row: Prediction) -> str:
        before, self._before = self._before, ",\n"
        return before + strict_json.dumps(self._as_dict(row))

    def end(self) -> str:
        return "]\n" if self._before == "\n" else "\n]\n"


class Csv:
    """Comma-separated values under a header; see `safe_csv`."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def start(self) -> str:
        columns = self._columns
        names = ["path", "label", "prob", "error"]
        names += ["size", "time"] if columns.stamp else []
        for number in range(1, columns.topk + 1):
            names += [f"label_{number}", f"prob_{number}"]
        names += [f"prob:{name}" for name in columns.probs]
        names += ["rejected"] * columns.rejects
        return safe_csv.line(names + ["file"] * columns.file)

    def row(self, row: Prediction) -> str:
        columns = self._columns
        prob = row.prob if row.labels is None else _joined(row, columns.separator)
        cells: list[str | float | None] = [row.path, row.label, prob, row.error]
        cells += [row.size, row.time] if columns.stamp else []
        best: list[str | float | None] = [cell for pair in row.topk for cell in pair]
        cells += (best + [None] * (2 * columns.topk))[: 2 * columns.topk]
        cells += row.probs or [None] * len(columns.probs)
        cells += ["true" if row.rejected else None] * columns.rejects
        cells += [row.file] * columns.file
        return safe_csv.line("" if cell is None else cell for cell in cells)

    def end(self) -> str:
        return ""


def _joined(row: Prediction, separator: str) -> str:
    """The probabilities of several labels, as `label` has these."""
    return separator.join(f"{prob:.6f}" for _, prob in row.labels or ())


def make_format(name: str, columns: Columns | None = None) -> Format:
    """The format of that name, one of `FORMATS`."""
    kinds: dict[str, type[Format]] = {
        "text": Text,
        "json": JsonArray,
        "jsonl": JsonLines,
        "csv": Csv,
    }
    return kinds[name](columns or Columns())
