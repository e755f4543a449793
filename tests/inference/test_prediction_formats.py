"""The formats of `cnn predict`, row by row."""

from __future__ import annotations

import pytest

from cnn_cli.inference.prediction_formats import FORMATS, make_format
from cnn_cli.inference.predictor import Prediction

GOOD = Prediction("a,b.png", "cat", 0.75, (("cat", 0.75), ("dog", 0.25)))
UNSURE = Prediction('say "x"\n.png', None, 0.4, (("dog", 0.4),))
BAD = Prediction("c\udcff\x1b.png", error="truncated or damaged")

EXPECTED = {
    "text": 'a,b.png\tcat\t0.750000\nsay "x"\\n.png\t\t0.400000\n',
    "json": (
        '[\n{"path": "a,b.png", "label": "cat", "prob": 0.75, '
        '"topk": [{"label": "cat", "prob": 0.75}, {"label": "dog", "prob": 0.25}]},\n'
        '{"path": "say \\"x\\"\\n.png", "label": null, "prob": 0.4, '
        '"topk": [{"label": "dog", "prob": 0.4}]},\n'
        '{"path": "c\\udcff\\u001b.png", "error": "truncated or damaged"}\n]\n'
    ),
    "jsonl": (
        '{"path": "a,b.png", "label": "cat", "prob": 0.75, '
        '"topk": [{"label": "cat", "prob": 0.75}, {"label": "dog", "prob": 0.25}]}\n'
        '{"path": "say \\"x\\"\\n.png", "label": null, "prob": 0.4, '
        '"topk": [{"label": "dog", "prob": 0.4}]}\n'
        '{"path": "c\\udcff\\u001b.png", "error": "truncated or damaged"}\n'
    ),
    "csv": (
        "path,label,prob,error\n"
        '"a,b.png",cat,0.750000,\n'
        '"say ""x""\n.png",,0.400000,\n'
        "c\\udcff\\x1b.png,,,truncated or damaged\n"
    ),
}
NOTHING = {"text": "", "json": "[]\n", "jsonl": "", "csv": "path,label,prob,error\n"}


@pytest.mark.parametrize("name", FORMATS)
def test_rows(name: str) -> None:
    format_ = make_format(name)
    text = format_.start() + "".join(map(format_.row, (GOOD, UNSURE, BAD))) + format_.end()
    assert text == EXPECTED[name]


@pytest.mark.parametrize("name", FORMATS)
def test_no_rows(name: str) -> None:
    format_ = make_format(name)
    assert format_.start() + format_.end() == NOTHING[name]


def test_text_escapes_what_would_end_its_line_or_reach_the_terminal() -> None:
    row = Prediction("\ta\r\x1b[31m\u2028\x85é\u00a0.png", "x\ny", 1.0)
    expected = "\\ta\\r\\x1b[31m\\u2028\\x85é\u00a0.png\tx\\ny\t1.000000\n"
    assert make_format("text").row(row) == expected
