"""Output formats of predictions: text, JSON, CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from cnn_cli import safe_csv, strict_json
from cnn_cli.errors import printable
from cnn_cli.inference.predictor import Prediction
from cnn_cli.structs import Struct

FORMATS = ("text", "json", "jsonl", "csv")
UNKNOWN = "unknown"  # label of a rejected image


class Columns(Struct):
    """Optional columns beyond path, label, probability and error.

    Attributes:
        topk: number of most probable classes in CSV.
        probs: classes whose probabilities are written.
        stamp: size and time of the file.
        file: where the image was put.
        separator: separates several labels.
        rejects: the network may reject images.
    """

    topk: int = 0
    probs: Sequence[str] = ()
    stamp: bool = False
    file: bool = False
    separator: str = "|"
    rejects: bool = False


class Format(Protocol):
    """Formats rows as text."""

    def __init__(self, columns: Columns) -> None: ...

    def start(self) -> str:
        """Return the beginning of the output."""

    def row(self, row: Prediction) -> str:
        """Return a row's text; "" if the format omits it."""

    def end(self) -> str:
        """Return the end of the output."""


class Text:
    """One line per image: path, label and probability separated by tabs; failures are left out."""

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
    """One JSON object per line."""

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
    """The same objects as one JSON array, one element per line."""

    _before = "\n"

    def start(self) -> str:
        return "["

    def row(self, row: Prediction) -> str:
        before, self._before = self._before, ",\n"
        return before + strict_json.dumps(self._as_dict(row))

    def end(self) -> str:
        return "]\n" if self._before == "\n" else "\n]\n"


class Csv:
    """Comma-separated values with a header; see `safe_csv`."""

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
    """Join the probabilities of several labels in the order of `label`."""
    return separator.join(f"{prob:.6f}" for _, prob in row.labels or ())


def make_format(name: str, columns: Columns | None = None) -> Format:
    """Return the format of that name, one of `FORMATS`."""
    kinds: dict[str, type[Format]] = {
        "text": Text,
        "json": JsonArray,
        "jsonl": JsonLines,
        "csv": Csv,
    }
    return kinds[name](columns or Columns())
