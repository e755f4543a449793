"""Label lists: tables of paths and labels, and the lines that Caffe reads.

A `.csv` or `.tsv` has a header, a `.txt` has lines of ``path label``. Paths are relative to the
list, and may lead anywhere, also into an archive.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from cnn_cli.data.archive import is_picture_file
from cnn_cli.data.listing import WHOLE, ListedImages, part_of
from cnn_cli.errors import DataError, listed, suggest
from cnn_cli.schema.fields import Frozen, Must
from cnn_cli.text_files import read_text

SUFFIXES = (".csv", ".tsv", ".txt")
MOST_BYTES = 2**29  # of a list
# What a column is for, and how it is headed in files that people have, the usual one first.
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
        path: of the images' paths; by default path, file, filename, file_name, image or image_path.
        label: of their classes; by default label, class, category or target.
        split: of their parts: train, val or test; by default split, set or subset, if there is one.
        group: of what keeps images on one side of a split; by default group, if there is one.
    """

    path: Column = None
    label: Column = None
    split: Column = None
    group: Column = None


class _Row(NamedTuple):
    """A line of a list: what stands in it, unchecked but for the number of values.

    Attributes:
        line: its number, from 1.
        split, group: None where the list has no such column.
    """

    line: int
    path: str
    label: str
    split: str | None = None
    group: str | None = None


class LabelList(ListedImages):
    """A label list, of which every row was looked at and every file found.

    Args:
        root: the list.
        classes: names that are known to be classes, for labels that are numbers.
        columns: how its columns are headed.

    Raises:
        DataError: it cannot be read, or a row is wrong; the first one is named, and how many.
    """

    layout = "must hold a row for each image"
    part_rule = "must have rows of the part '{}'"
    class_rule = "must have a row of the class '{}'"

    def __init__(
        self, root: Path, classes: Sequence[str] = (), columns: ColumnsConfig | None = None
    ) -> None:
        folder = os.path.dirname(root)
        super().__init__(root, folder)
        if root.suffix.lower() == ".txt":
            if columns is not None and columns != ColumnsConfig():
                rule = "must be a .csv or .tsv where data.columns names columns"
                raise DataError(root, rule, "a .txt")
            rows = _lines(root)
        else:
            rows = self._table(columns or ColumnsConfig())
        self._problems: list[DataError] = []
        self._take(rows, folder)
        if self._problems:
            first, more = self._problems[0], len(self._problems) - 1
            if more:
                lines = "one more line is" if more == 1 else f"{more:,} more lines are"
                first = DataError(first.place, first.rule, f"{first.got}; {lines} wrong")
            raise first
        if not self._images:
            raise DataError(root, self.layout, "none")
        parts = {part for part, _ in self._images}
        self.finish({part: (part, str(root)) for part in sorted(parts)})
        self.name_numbers(classes)

    def _take(self, rows: Iterator[_Row], folder: str) -> None:
        """Add the rows' images; what is wrong goes to `_problems`."""
        taken: dict[str, _Row] = {}
        groups: dict[str, str] = {}
        again = 0
        for row in rows:
            place = f"{self.root}:{row.line}"
            problem = self._problem_of(row, place)
            if problem is not None:
                self._problems.append(problem)
                continue
            path = _find(folder, row.path)
            if path is None:
                rule = "must name a file that is there"
                self._problems.append(DataError(place, rule, f"'{row.path}'"))
                continue
            before = taken.setdefault(os.path.normpath(path), row)
            if before is not row:
                again += 1
                self._compare(row, before, place)
                continue
            part = WHOLE if row.split is None else part_of(row.split) or WHOLE
            self.add(part, row.label, path, place)
            if row.group:
                groups[path] = row.group
        self.groups = groups or None
        if again:
            rows_text = "a row is" if again == 1 else f"{again:,} rows are"
            self.notes.append(f"{self.root}: {rows_text} there twice, and taken once")

    def _problem_of(self, row: _Row, place: str) -> DataError | None:
        if not row.path:
            return DataError(place, "must have a path", "an empty one")
        if not row.label:
            return DataError(place, "must have a label", "an empty one")
        if row.split is not None and part_of(row.split) is None:
            return DataError(place, "must be of the part train, val or test", f"'{row.split}'")
        return None

    def _compare(self, row: _Row, before: _Row, place: str) -> None:
        """Refuse a second row of an image that says something else."""
        for what in ("label", "split", "group"):
            ours, theirs = getattr(row, what), getattr(before, what)
            if ours != theirs and not (what == "split" and part_of(ours) == part_of(theirs)):
                rule = f"must have one {what} for '{row.path}'"
                got = f"'{ours}', and '{theirs}' in line {before.line}"
                self._problems.append(DataError(place, rule, got))
                return

    def _table(self, columns: ColumnsConfig) -> Iterator[_Row]:
        text = read_text(self.root, MOST_BYTES)
        header, separator = _header(self.root, text, columns)
        places = _columns(self.root, header, columns)
        said = [
            f"{what} is '{header[i]}'" for what, i in places.items() if header[i].lower() != what
        ]
        if said and columns == ColumnsConfig():
            self.notes.append(f"{self.root}: of its columns, {listed(said, last=' and ')}")
        return _rows(self.root, text, separator, header, places)


def _header(root: Path, text: str, columns: ColumnsConfig) -> tuple[list[str], str]:
    """The heads of the columns, and what stands between values.

    Spreadsheets write semicolons where the comma is the decimal one: what gives the columns of
    paths and labels is taken.
    """
    best: tuple[list[str], str] = ([], ",")
    for separator in SEPARATORS[root.suffix.lower()]:
        try:
            header = next(csv.reader(io.StringIO(text), delimiter=separator, strict=True), [])
        except csv.Error as error:
            raise DataError(f"{root}:1", "must be a header", str(error)) from None
        names = [name.strip() for name in header]
        if len(names) > len(best[0]):
            best = names, separator
        if all(_column(names, what, columns) is not None for what in REQUIRED):
            return names, separator
    if not any(best[0]):
        raise DataError(root, "must have a header and rows", "nothing")
    return best


def _column(header: Sequence[str], what: str, columns: ColumnsConfig) -> int | None:
    """Where a column is; None where it is not there."""
    told = getattr(columns, what)
    if told in header:
        return header.index(told)
    lower = [name.lower() for name in header]
    for name in SPELLINGS[what] if told is None else (told.lower(),):
        if name in lower:
            return lower.index(name)
    return None


def _columns(root: Path, header: Sequence[str], columns: ColumnsConfig) -> dict[str, int]:
    found: dict[str, int] = {}
    for what, spellings in SPELLINGS.items():
        column = _column(header, what, columns)
        told = getattr(columns, what)
        if column is None and told is not None:
            rule = f"must have the column '{told}' of data.columns.{what}.{suggest(told, header)}"
            raise DataError(f"{root}:1", rule, listed(header, 20))
        if column is None and what in REQUIRED:
            rule = (
                f"must have a column for the {what}, headed {listed(spellings, 9, last=' or ')}, "
                f"or as data.columns.{what} says"
            )
            raise DataError(f"{root}:1", rule, listed(header, 20))
        if column is not None:
            if [name.lower() for name in header].count(header[column].lower()) > 1:
                raise DataError(f"{root}:1", f"must have the column '{header[column]}' once")
            found[what] = column
    return found


def _rows(
    root: Path, text: str, separator: str, header: Sequence[str], places: dict[str, int]
) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    line = 1
    try:
        for number, row in enumerate(reader):
            start, line = line, reader.line_num + 1
            values = [value.strip() for value in row]
            if number == 0 or not any(values):
                continue
            if len(values) != len(header):
                rule = f"must have {len(header)} values, as the header has"
                raise DataError(f"{root}:{start}", rule, len(values))
            yield _Row(start, **{what: values[i] for what, i in places.items()})
    except csv.Error as error:
        raise DataError(f"{root}:{line}", "must be a row of values", str(error)) from None


def _lines(root: Path) -> Iterator[_Row]:
    """The rows of a list without a header: the label is the last word of a line."""
    text = read_text(root, MOST_BYTES)
    for line, content in enumerate(text.split("\n"), 1):
        words = content.strip().rsplit("\t" if "\t" in content.strip() else None, 1)
        if not words or words == [""]:
            continue
        if len(words) < 2:
            raise DataError(f"{root}:{line}", "must be a path and a label", f"'{words[0]}'")
        yield _Row(line, words[0].strip(), words[1].strip())


def _find(folder: str, name: str) -> str | None:
    """The path of a file that a list names; None where it is not there."""
    path = os.path.join(folder, name)
    if is_picture_file(path):
        return path
    if "\\" in name:  # the list comes from Windows
        path = os.path.join(folder, name.replace("\\", "/"))
        if is_picture_file(path):
            return path
    return None


def is_list(root: Path) -> bool:
    """Whether a data root is taken for a label list: by its extension."""
    return root.suffix.lower() in SUFFIXES
