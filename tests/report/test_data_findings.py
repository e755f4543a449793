"""The text of findings."""

from __future__ import annotations

import json

from cnn_cli.data.check import KINDS, Finding, Findings
from cnn_cli.errors import DataError
from cnn_cli.report.text.data_findings import TITLES, findings_dict, findings_text

PARTS = {"train": {"cat": 1200, "dog": 30, "fox": 30}, "val": {"cat": 10, "dog": 10}, "test": {}}
IMAGES = {"train": 1260, "val": 20, "test": 0}


def test_every_kind_has_a_title() -> None:
    assert tuple(TITLES) == KINDS


def test_nothing_found() -> None:
    assert findings_text(Findings("photos", PARTS, IMAGES, (), None)) == (
        "part   classes  images  fewest    most\n"
        "-----  -------  ------  --------  -----------\n"
        "train        3   1,260  30 (dog)  1,200 (cat)\n"
        "val          2      20  10        10\n"
        "test         0       0\n"
        "\n"
        "nothing found\n"
    )


def test_an_image_of_several_labels_counts_once() -> None:
    several = Findings("tags.csv", {"all": {"cat": 2, "dog": 3}}, {"all": 4}, (), None)
    assert findings_text(several).splitlines()[2] == "all         2       4  2 (cat)  3 (dog)"
    assert findings_dict(several)["images"] == 4


def test_a_few_examples_of_each_kind() -> None:
    copies = [tuple(f"{i}{letter}.png" for letter in "abcde"[:i]) for i in range(2, 6)]
    found = (
        Finding("unreadable", ("x\n\udcff.png",), "truncated or damaged"),
        *(Finding("copies", paths) for paths in copies),
        Finding("mode", ("a.jpg",), "CMYK"),
        Finding("mode", ("b.gif",), "animated"),
        Finding("mode", ("c.jpg",), "CMYK"),
    )
    text = findings_text(Findings("photos", {"all": {"a": 1}}, {"all": 1}, found, None))
    assert text.partition("\n\n")[2] == (
        "unreadable images, which training would skip: 1\n"
        "  x\\n\\udcff.png: truncated or damaged\n"
        "\n"
        "the same file more than once in a class: 4\n"
        "  2a.png and 2b.png\n"
        "  3a.png, 3b.png and 3c.png\n"
        "  4a.png, 4b.png, 4c.png and 1 more\n"
        "  and 1 more\n"
        "\n"
        "of an unusual kind, CMYK: 2\n"
        "  a.jpg\n"
        "  c.jpg\n"
        "\n"
        "of an unusual kind, animated: 1\n"
        "  b.gif\n"
    )


def test_all_of_it_for_programs() -> None:
    found = tuple(Finding("copies", (f"{i}.png", f"{i} copy.png")) for i in range(9))
    found += (Finding("small", ("x.png",), "1x1"),)
    error = DataError("photos/dog", "must hold at least one image", "none")
    document = findings_dict(Findings("photos", PARTS, IMAGES, found, error))
    assert json.loads(json.dumps(document)) == document
    assert list(document) == ["root", "images", "parts", "findings", "remarks", "error", "near"]
    assert document["images"] == 1280
    assert document["parts"] == PARTS
    assert document["findings"][8:] == [
        {"kind": "copies", "paths": ["8.png", "8 copy.png"], "detail": None},
        {"kind": "small", "paths": ["x.png"], "detail": "1x1"},
    ]
    assert document["error"] == "photos/dog: must hold at least one image. Got none."
