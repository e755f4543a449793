"""The rows of label lists, before anything in them is checked but their number of values.

A `.csv` or `.tsv` has a header; a `.txt` has lines ``path label``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from cnn_cli.errors import DataError, listed, suggest
from cnn_cli.schema.fields import Frozen, Must
from cnn_cli.text_files import read_text

SUFFIXES = (".csv", ".tsv", ".txt")
MOST_BYTES = 2**29  # of a list
# Purpose of each column, and its usual headers, the most common first.
SPELLINGS = {
    "path": ("path", "file", "filename", "file_name", "image", "image_path"),
    "label": ("label", "class", "category", "target"),
    "split": ("split", "set", "subset"),
    "group": ("group",),
}
REQUIRED = ("path", "label")
SEPARATORS = {".csv": ",;\t", ".tsv": "\t,;"}


Column = Annotated[
    Annotated[str, Field(strict=True, min_length=1)] | None, Must("the name of a column")
]


class ColumnsConfig(Frozen):
    """How the columns of a label list are headed, where `data.root` is one.

    Attributes:
        path: column of the paths; by default path, file, filename, file_name, image or image_path.
        label: column of the classes; by default label, class, category or target.
        split: column of the parts: train, val or test; by default split, set or subset, if any.
        group: column of groups that stay in one part; by default group, if any.
    """

    path: Column = None
    label: Column = None
    split: Column = None
    group: Column = None


def is_list(root: Path) -> bool:
    """Whether a data root is a label list, by its extension."""
    return root.suffix.lower() in SUFFIXES


class Row(NamedTuple):
    """A line of a list; only the number of values is checked.

    Attributes:
        line: its number, from 1.
        split, group: None if the list has no such column.
        marks: the values in columns of 0 and 1; `label` is then empty.
    """

    line: int
    path: str
    label: str
    split: str | None = None
    group: str | None = None
    marks: tuple[str, ...] | None = None


class Table:
    """A `.csv` or `.tsv`, whose columns are found by their headers.

    Attributes:
        root: the file.
        header: the headers of all columns.
        places: the column of each purpose.
        rest: the other columns.

    Args:
        root: the file.
        columns: the headers that `data.columns` names.
        wanted: the purposes by which the delimiter is recognized.
        required: those without which it is refused; by default all wanted ones.

    Raises:
        DataError: it cannot be read, or lacks a column.
    """

    def __init__(
        self,
        root: Path,
        columns: ColumnsConfig,
        wanted: Sequence[str],
        required: Sequence[str] | None = None,
    ) -> None:
        self.root = root
        self._text = read_text(root, MOST_BYTES)
        self.header, self._separator = _header(root, self._text, columns, wanted)
        needed = wanted if required is None else required
        self.places = _columns(root, self.header, columns, needed)
        self.rest = [i for i in range(len(self.header)) if i not in self.places.values()]

    def doubles(self, columns: ColumnsConfig) -> list[str]:
        """Return the headers of further columns for a purpose that `columns` does not name."""
        spellings = {
            name
            for what, names in SPELLINGS.items()
            if getattr(columns, what) is None and what in self.places
            for name in names
        }
        return [self.header[i] for i in self.rest if self.header[i].lower() in spellings]

    def rows(self, marked: Sequence[int] = ()) -> Iterator[Row]:
        """Yield the rows.

        Args:
            marked: columns of 0 and 1.

        Raises:
            DataError: a row has another number of values than the header.
        """
        reader = csv.reader(io.StringIO(self._text), delimiter=self._separator, strict=True)
        line = 1
        try:
            for number, row in enumerate(reader):
                start, line = line, reader.line_num + 1
                values = [value.strip() for value in row]
                if number == 0 or not any(values):
                    continue
                if len(values) != len(self.header):
                    rule = f"must have {len(self.header)} values, as the header has"
                    raise DataError(f"{self.root}:{start}", rule, len(values))
                said: dict[str, Any] = {what: values[i] for what, i in self.places.items()}
                if marked:
                    said |= {"label": "", "marks": tuple(values[i] for i in marked)}
                yield Row(start, **said)
        except csv.Error as error:
            raise DataError(f"{self.root}:{line}", "must be a row of values", str(error)) from None


def read_lines(root: Path) -> Iterator[Row]:
    """Yield the rows of a list without header: the label is the last word of a line.

    Raises:
        DataError: a line has one word, or the file cannot be read.
    """
    text = read_text(root, MOST_BYTES)
    for line, content in enumerate(text.split("\n"), 1):
        words = content.strip().rsplit("\t" if "\t" in content.strip() else None, 1)
        if not words or words == [""]:
            continue
        if len(words) < 2:
            raise DataError(f"{root}:{line}", "must be a path and a label", f"'{words[0]}'")
        yield Row(line, words[0].strip(), words[1].strip())


def _header(
    root: Path, text: str, columns: ColumnsConfig, required: Sequence[str]
) -> tuple[list[str], str]:
    """Return the headers of the columns and the delimiter.

    Spreadsheets write semicolons where the comma is the decimal separator; the delimiter that gives
    columns of paths and labels is used.
    """
    best: tuple[list[str], str] = ([], ",")
    problem: csv.Error | None = None
    for separator in SEPARATORS[root.suffix.lower()]:
        try:
            header = next(csv.reader(io.StringIO(text), delimiter=separator, strict=True), [])
        except csv.Error as error:  # quotes around names that another delimiter separates
            problem = problem or error
            continue
        names = [name.strip() for name in header]
        if len(names) > len(best[0]):
            best = names, separator
        if all(_column(names, what, columns) is not None for what in required):
            return names, separator
    if problem is not None and len(best[0]) < 2:
        raise DataError(f"{root}:1", "must be a header", str(problem))
    if not any(best[0]):
        raise DataError(root, "must have a header and rows", "nothing")
    return best


def _column(header: Sequence[str], what: str, columns: ColumnsConfig) -> int | None:
    """Return the index of a column, or None."""
    told = getattr(columns, what)
    if told in header:
        return header.index(told)
    lower = [name.lower() for name in header]
    for name in SPELLINGS[what] if told is None else (told.lower(),):
        if name in lower:
            return lower.index(name)
    return None


def _columns(
    root: Path, header: Sequence[str], columns: ColumnsConfig, required: Sequence[str]
) -> dict[str, int]:
    """Return the column of each purpose.

    Raises:
        DataError: one that is required or named by `data.columns` is missing, or there twice.
    """
    found: dict[str, int] = {}
    for what, spellings in SPELLINGS.items():
        column = _column(header, what, columns)
        told = getattr(columns, what)
        if column is None and told is not None:
            rule = f"must have the column '{told}' of data.columns.{what}.{suggest(told, header)}"
            raise DataError(f"{root}:1", rule, listed(header, 20))
        if column is None and what in required:
            rule = (
                f"must have a column for the {what}, headed {listed(spellings, 9, last=' or ')}, "
                f"or as data.columns.{what} says"
            )
            if what == "label":
                rule += "; columns of 0 and 1 are for data.labels multiple"
            raise DataError(f"{root}:1", rule, listed(header, 20))
        if column is not None:
            if [name.lower() for name in header].count(header[column].lower()) > 1:
                raise DataError(f"{root}:1", f"must have the column '{header[column]}' once")
            found[what] = column
    return found
