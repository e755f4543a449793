"""Label lists: the images and labels that their rows name.

Paths are relative to the list and may lead anywhere, also into an archive.

Several labels per image are written in one column, as ``cat|dog``, or as one column of 0 and 1 per
label.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from cnn_cli.data.archive import is_picture_file
from cnn_cli.data.label_table import REQUIRED, SPELLINGS, ColumnsConfig, Row, Table, read_lines
from cnn_cli.data.listing import WHOLE, ListedImages, one_form, part_of
from cnn_cli.data.targets import NONE
from cnn_cli.errors import DataError, listed, suggest

MARKS = {"0": False, "1": True}
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
            rows = read_lines(root)
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
        parts = {part for part, _ in self._images} | self.labeled.keys()
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

    def _take(self, rows: Iterator[Row], folder: str) -> None:
        """Add the rows' images; errors are added to `_problems`."""
        taken: dict[str, Row] = {}
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
            before = taken.setdefault(os.path.abspath(path), row)
            if before is not row:
                again += 1
                self._compare(row, before, place)
                continue
            part = WHOLE if row.split is None else part_of(row.split) or WHOLE
            if self._separator is None:
                self.add(part, row.label, path, place)
                self._labels.add(row.label)
            else:
                self.add_labeled(part, self._labels_of(row), path, place)
            if row.group:
                groups[path] = row.group
        self.groups = groups or None
        if again:
            rows_text = "a row is" if again == 1 else f"{again:,} rows are"
            self.notes.append(f"{self.root}: {rows_text} there twice, and taken once")

    def _problem_of(self, row: Row, place: str) -> DataError | None:
        if not row.path:
            return DataError(place, "must have a path", "an empty one")
        if row.split is not None and part_of(row.split) is None:
            return DataError(place, "must be of the part train, val or test", f"'{row.split}'")
        return self._problem_of_labels(row, place)

    def _problem_of_labels(self, row: Row, place: str) -> DataError | None:
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

    def _labels_of(self, row: Row) -> tuple[str, ...]:
        """Return the labels of a row; none if it says so."""
        if row.marks is not None:
            marks = zip(self._marked, row.marks, strict=True)
            return tuple(name for name, mark in marks if MARKS.get(mark))
        if row.label == NONE:
            return ()
        separator = self._separator or ""
        parts = row.label.split(separator if separator.strip() else None)
        return tuple(label.strip() for label in parts)

    def _label_text(self, row: Row) -> str:
        return (self._separator or "").join(sorted({*self._labels_of(row)})) or NONE

    def _compare(self, row: Row, before: Row, place: str) -> None:
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

    def _table(self, columns: ColumnsConfig) -> Iterator[Row]:
        table = Table(self.root, columns, REQUIRED if self._separator is None else REQUIRED[:1])
        marked = [] if "label" in table.places else self._marks_of(table)
        said = [
            f"{what} is '{table.header[i]}'"
            for what, i in table.places.items()
            if table.header[i].lower() != what
        ]
        if said and columns == ColumnsConfig():
            self.notes.append(f"{self.root}: of its columns, {listed(said, last=' and ')}")
        if doubles := table.doubles(columns):
            self.notes.append(f"{self.root}: left out beside these: columns {listed(doubles)}")
        return table.rows(marked)

    def _marks_of(self, table: Table) -> list[int]:
        """Return the columns that are labels: those of known classes, else all remaining ones.

        Raises:
            DataError: there are none, two with one name, or not all known classes.
        """
        header = table.header
        found = [i for i in table.rest if not self._known or one_form(header[i]) in self._known]
        names = [header[i] for i in found]
        if not names or NONE in names or "" in names or len(set(names)) < len(names):
            rule = (
                f"must have a column for the labels, headed "
                f"{listed(SPELLINGS['label'], 9, last=' or ')}, or one of 0 and 1 for each label, "
                f"of different names other than {NONE}"
            )
            raise DataError(f"{self.root}:1", rule, listed(header, 20))
        others = [header[i] for i in table.rest if i not in found]
        there = {*map(one_form, names)}
        if missing := [name for form, name in self._known.items() if form not in there]:
            rule = f"must have a column of 0 and 1 for each class.{suggest(missing[0], others)}"
            raise DataError(f"{self.root}:1", rule, f"none for {listed(missing)}")
        if others:
            self.notes.append(f"{self.root}: left out, as no classes: columns {listed(others)}")
        self._marked = names
        return found


def has_several_labels(root: Path) -> bool:
    """Whether images of a list seem to have several labels: as `cat|dog`, or columns of 0 and 1.

    Raises:
        DataError: it cannot be read.
    """
    table = _table_of(root)
    if table is None:
        rows = read_lines(root)
    else:
        if "path" not in table.places:  # reading the list says so
            return False
        if "label" not in table.places:
            first = next(table.rows(table.rest), None) if table.rest else None
            return first is not None and all(mark in MARKS for mark in first.marks or ())
        rows = table.rows()
    return bool(_joined({row.label for row in rows}))


def has_label_text(root: Path) -> bool:
    """Whether a list names labels in words, not by columns of 0 and 1; errors as above."""
    table = _table_of(root)
    return table is None or "label" in table.places


def _table_of(root: Path) -> Table | None:
    """Return the table of a list; None if it is of lines."""
    if root.suffix.lower() == ".txt":
        return None
    return Table(root, ColumnsConfig(), wanted=REQUIRED, required=())


def _joined(labels: set[str]) -> set[str]:
    """Return the labels that look like several each, as `cat|dog` beside `cat`; else none."""
    joined = {label for label in labels if SEPARATOR in label}
    apart = {part.strip() for label in joined for part in label.split(SEPARATOR)}
    return joined if len(joined) > 1 or not apart.isdisjoint(labels) else set()


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
