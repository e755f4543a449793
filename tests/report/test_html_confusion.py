"""The confusion matrix of the HTML report, from few classes to many."""

from __future__ import annotations

import re
import tracemalloc

import numpy as np
import pytest
from html_check import Page

from cnn_cli.inference.metrics import Confusion, per_class
from cnn_cli.report.html.confusion_table import LEVELS, MOST_CONFUSED, confusion_parts
from cnn_cli.report.html.page import Section, page
from cnn_cli.report.html.template import joined


def text_of(confusion: np.ndarray, names: list[str]) -> str:
    return joined(confusion_parts(Confusion.of_matrix(confusion), names))


def page_of(confusion: np.ndarray, names: list[str]) -> Page:
    parts = confusion_parts(Confusion.of_matrix(confusion), names)
    return Page(page("x", "y", [Section("a", "A", parts)]).decode())


def test_counts_shares_recall_and_precision() -> None:
    confusion = np.array([[90, 10, 0], [0, 0, 0], [1, 0, 299]])
    page = Page(str(text_of(confusion, ["a", "b", "c"])))
    body = page.text.split("recall")[1].split("Most frequent mistakes")[0]
    assert body == "a9090%1010%90%b–c1<1%299>99%>99%precision99%0%100%"
    assert page.text.endswith("aba1010%".replace("aba", "ab") + "ca1<1%")


@pytest.mark.parametrize("classes", [2, 12, 13, 30])
def test_a_table_of_few_classes(classes: int) -> None:
    confusion = np.eye(classes, dtype=np.int64) * 50
    confusion[0, 1] = 1
    found = page_of(confusion, names(classes))
    assert found.faults == []
    # The corner, the cells, recall and precision; below it a row with two more cells and a name.
    assert found.elements["td"] == 1 + classes * classes + classes + classes + 1 + 3
    assert found.elements.get("small", 0) == (classes + 1) * (classes <= 12)


@pytest.mark.parametrize("classes", [31, 100])
def test_a_picture_of_many_classes(classes: int) -> None:
    confusion = np.eye(classes, dtype=np.int64) * 50
    confusion[3, 7] = 25
    text = text_of(confusion, names(classes))
    paths = dict(re.findall(r'<path d="([^"]*)" class="(h\d)"', text))
    drawn = {level: cells.count("M") for cells, level in paths.items()}
    assert drawn == {f"h{LEVELS}": classes - 1, "h7": 1, "h5": 1}
    assert len(text) < 60_000
    found = page_of(confusion, names(classes))
    assert found.faults == []
    assert "class 3class 72533%" in found.text


def test_too_many_classes_have_a_list_only() -> None:
    confusion = np.zeros((251, 251), np.int64)
    confusion[5, 6] = 2
    text = text_of(confusion, names(251))
    assert "251 classes are too many for a matrix." in text
    assert text.count("<tr>") == 2


def test_memory_grows_with_images_not_with_classes_squared() -> None:
    classes = 20_000
    labels = np.arange(classes)
    confusion = Confusion.of(labels, (labels + 1) % classes, classes)
    tracemalloc.start()
    text = joined(confusion_parts(confusion, names(classes)))
    scores = per_class(confusion, names(classes))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert text.count("<tr>") == 1 + MOST_CONFUSED
    assert len(scores) == classes
    assert peak < 20_000_000


def test_nothing_is_confused() -> None:
    assert "No image was misclassified." in text_of(np.eye(3, dtype=np.int64), names(3))


def names(classes: int) -> list[str]:
    return [f"class {i}" for i in range(classes)]
