"""Label lists: tables of paths and labels, and Caffe's lists.

A `.csv` or `.tsv` has a header; a `.txt` has lines ``path label``. Paths are relative to the list
and may lead anywhere, also into an archive.

Several labels per image are written in one column, as ``cat|dog``, or as one column of 0 and 1 per
label.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from cnn_cli.data.archive import is_picture_file
from cnn_cli.data.listing import WHOLE, ListedImages, one_form, part_of
from cnn_cli.data.targets import NONE
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
MARKS = {"0": False, "1": True}
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


class _Row(NamedTuple):
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


SEPARATOR = "|"  # separates several labels, unless `data.label_sep` says otherwise


class LabelList(ListedImages):
    """A label list whose rows are checked and whose files exist.

    Args:
        root: the list.
        classes: known class names, for numeric labels.
        columns: the headers of its columns.
        separator: separates the labels of an image; None if each image has one label.

    Raises:
        DataError: it cannot be read, or rows are wrong; the error names the first and their number.
    """

    layout = "must hold a row for each image"
    part_rule = "must have rows of the part '{}'"
    class_rule = "must have a row of the class '{}'"

    def __init__(
        self,
        root: Path,
        classes: Sequence[str] = (),
        columns: ColumnsConfig | None = None,
        separator: str | None = None,
    ) -> None:
        folder = os.path.dirname(root)
        super().__init__(root, folder)
        self._separator = separator
        self._marked: list[str] = []  # headers of columns of 0 and 1
        self._known = {one_form(name): name for name in classes}
        if root.suffix.lower() == ".txt":
            if columns is not None and columns != ColumnsConfig():
                rule = "must be a .csv or .tsv if data.columns names columns"
                raise DataError(root, rule, "a .txt")
            rows = _lines(root)
        else:
            rows = self._table(columns or ColumnsConfig())
        self._problems: list[DataError] = []
        self._labels: set[str] = set()  # labels of images with one label each
        self._take(rows, folder)
        if self._problems:
            first, more = self._problems[0], len(self._problems) - 1
            if more:
                lines = "one more line is" if more == 1 else f"{more:,} more lines are"
                first = DataError(first.place, first.rule, f"{first.got}; {lines} wrong")
            raise first
        parts = {part for part, _ in self._images} | self.labelled.keys()
        if not parts:
            raise DataError(root, self.layout, "none")
        for part in parts:
            for label in self._marked:
                self.add_class(part, label, f"{root}:1")
        self.finish({part: (part, str(root)) for part in sorted(parts)})
        if separator is None:
            self._note_joined()
            self.name_numbers(classes)

    def _note_joined(self) -> None:
        """Note that labels which contain the separator are treated as one class each."""
        if joined := _joined(self._labels):
            rule = f"labels such as '{min(joined)}' are one class each"
            self.notes.append(f"{self.root}: {rule}; data.labels=multiple reads several labels")

    def _take(self, rows: Iterator[_Row], folder: str) -> None:
        """Add the rows' images; errors are added to `_problems`."""
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
                rule = "must name an existing file"
                self._problems.append(DataError(place, rule, f"'{row.path}'"))
                continue
            before = taken.setdefault(os.path.normpath(path), row)
            if before is not row:
                again += 1
                self._compare(row, before, place)
                continue
            part = WHOLE if row.split is None else part_of(row.split) or WHOLE
            if self._separator is None:
                self.add(part, row.label, path, place)
                self._labels.add(row.label)
            else:
                self.add_labelled(part, self._labels_of(row), path, place)
            if row.group:
                groups[path] = row.group
        self.groups = groups or None
        if again:
            rows_text = "a row is" if again == 1 else f"{again:,} rows are"
            self.notes.append(f"{self.root}: {rows_text} there twice, and taken once")

    def _problem_of(self, row: _Row, place: str) -> DataError | None:
        if not row.path:
            return DataError(place, "must have a path", "an empty one")
        if row.split is not None and part_of(row.split) is None:
            return DataError(place, "must be of the part train, val or test", f"'{row.split}'")
        return self._problem_of_labels(row, place)

    def _problem_of_labels(self, row: _Row, place: str) -> DataError | None:
        if row.marks is not None:
            for name, mark in zip(self._marked, row.marks, strict=True):
                if mark not in MARKS:
                    rule = f"must have 0 or 1 in the column '{name}'; data.classes names the labels"
                    return DataError(place, rule, f"'{mark}'")
        elif not row.label:
            rule = "must have a label" if self._separator is None else f"must have labels or {NONE}"
            return DataError(place, rule, "an empty one")
        elif self._separator is not None:
            labels = self._labels_of(row)
            if "" in labels:
                rule = f"must have a label on both sides of each '{self._separator}'"
                return DataError(place, rule, f"'{row.label}'")
            if NONE in labels:
                rule = f"must have {NONE}, which means no label, alone"
                return DataError(place, rule, f"'{row.label}'")
        return None

    def _labels_of(self, row: _Row) -> tuple[str, ...]:
        """Return the labels of a row; none if it says so."""
        if row.marks is not None:
            marks = zip(self._marked, row.marks, strict=True)
            return tuple(name for name, mark in marks if MARKS.get(mark))
        if row.label == NONE:
            return ()
        separator = self._separator or ""
        parts = row.label.split(separator if separator.strip() else None)
        return tuple(label.strip() for label in parts)

    def _label_text(self, row: _Row) -> str:
        return (self._separator or "").join(sorted({*self._labels_of(row)})) or NONE

    def _compare(self, row: _Row, before: _Row, place: str) -> None:
        """Refuse a second row for an image that contradicts the first."""
        for what in ("label", "split", "group"):
            ours, theirs = getattr(row, what), getattr(before, what)
            if what == "label" and self._separator is not None:
                ours, theirs = self._label_text(row), self._label_text(before)
            if ours != theirs and not (what == "split" and part_of(ours) == part_of(theirs)):
                rule = f"must have one {what} for '{row.path}'"
                got = f"'{ours}', and '{theirs}' in line {before.line}"
                self._problems.append(DataError(place, rule, got))
                return

    def _table(self, columns: ColumnsConfig) -> Iterator[_Row]:
        text = read_text(self.root, MOST_BYTES)
        required = REQUIRED if self._separator is None else REQUIRED[:1]
        header, separator = _header(self.root, text, columns, required)
        places = _columns(self.root, header, columns, required)
        marked = [] if "label" in places else self._marks_of(header, places)
        said = [
            f"{what} is '{header[i]}'" for what, i in places.items() if header[i].lower() != what
        ]
        if said and columns == ColumnsConfig():
            self.notes.append(f"{self.root}: of its columns, {listed(said, last=' and ')}")
        return _rows(self.root, text, separator, header, places, marked)

    def _marks_of(self, header: Sequence[str], places: dict[str, int]) -> list[int]:
        """Return the columns that are labels: those of known classes, else all remaining ones.

        Raises:
            DataError: there are none, or two with one name.
        """
        rest = [i for i in range(len(header)) if i not in places.values()]
        found = [i for i in rest if not self._known or one_form(header[i]) in self._known]
        names = [header[i] for i in found]
        if not names or NONE in names or "" in names or len(set(names)) < len(names):
            rule = (
                f"must have a column for the labels, headed "
                f"{listed(SPELLINGS['label'], 9, last=' or ')}, or one of 0 and 1 for each label, "
                f"of different names other than {NONE}"
            )
            raise DataError(f"{self.root}:1", rule, listed(header, 20))
        if others := [header[i] for i in rest if i not in found]:
            self.notes.append(f"{self.root}: left out, as no classes: columns {listed(others)}")
        self._marked = names
        return found


def has_several_labels(root: Path) -> bool:
    """Whether images of a list seem to have several labels: as `cat|dog`, or columns of 0 and 1.

    Raises:
        DataError: it cannot be read.
    """
    if root.suffix.lower() == ".txt":
        rows = _lines(root)
    else:
        text = read_text(root, MOST_BYTES)
        header, separator = _header(root, text, ColumnsConfig(), REQUIRED)
        places = _columns(root, header, ColumnsConfig(), required=())
        rest = [i for i in range(len(header)) if i not in places.values()]
        if "label" not in places:
            first = next(_rows(root, text, separator, header, places, rest), None) if rest else None
            return first is not None and all(mark in MARKS for mark in first.marks or ())
        rows = _rows(root, text, separator, header, places, [])
    return bool(_joined({row.label for row in rows}))


def _joined(labels: set[str]) -> set[str]:
    """Return the labels that look like several each, as `cat|dog` beside `cat`; else none."""
    joined = {label for label in labels if SEPARATOR in label}
    apart = {part.strip() for label in joined for part in label.split(SEPARATOR)}
    return joined if len(joined) > 1 or not apart.isdisjoint(labels) else set()


def _header(
    root: Path, text: str, columns: ColumnsConfig, required: Sequence[str]
) -> tuple[list[str], str]:
    """Return the headers of the columns and the delimiter.

    Spreadsheets write semicolons where the comma is the decimal separator; the delimiter that gives
    columns of paths and labels is used.
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
        if all(_column(names, what, columns) is not None for what in required):
            return names, separator
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
            raise DataError(f"{root}:1", rule, listed(header, 20))
        if column is not None:
            if [name.lower() for name in header].count(header[column].lower()) > 1:
                raise DataError(f"{root}:1", f"must have the column '{header[column]}' once")
            found[what] = column
    return found


def _rows(
    root: Path,
    text: str,
    separator: str,
    header: Sequence[str],
    places: dict[str, int],
    marked: Sequence[int],
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
            said: dict[str, Any] = {what: values[i] for what, i in places.items()}
            if marked:
                said |= {"label": "", "marks": tuple(values[i] for i in marked)}
            yield _Row(start, **said)
    except csv.Error as error:
        raise DataError(f"{root}:{line}", "must be a row of values", str(error)) from None


def _lines(root: Path) -> Iterator[_Row]:
    """Yield the rows of a list without header: the label is the last word of a line."""
    text = read_text(root, MOST_BYTES)
    for line, content in enumerate(text.split("\n"), 1):
        words = content.strip().rsplit("\t" if "\t" in content.strip() else None, 1)
        if not words or words == [""]:
            continue
        if len(words) < 2:
            raise DataError(f"{root}:{line}", "must be a path and a label", f"'{words[0]}'")
        yield _Row(line, words[0].strip(), words[1].strip())


def _find(folder: str, name: str) -> str | None:
    """Return the path of a file in a list; None if it does not exist."""
    path = os.path.join(folder, name)
    if is_picture_file(path):
        return path
    if "\\" in name:  # the list was written on Windows
        path = os.path.join(folder, name.replace("\\", "/"))
        if is_picture_file(path):
            return path
    return None


def is_list(root: Path) -> bool:
    """Whether a data root is a label list, by its extension."""
    return root.suffix.lower() in SUFFIXES
