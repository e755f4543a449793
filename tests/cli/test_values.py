"""Option values: parsing and errors."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cnn_cli.cli.shared import values
from cnn_cli.cli.shared.gates import Gate, gate
from cnn_cli.cli.shared.parameters import Argument, Option, Parameter
from cnn_cli.errors import GateError, UsageError
from cnn_cli.metric_names import Metric


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("25m", 1500),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h0m5s", 3605),
        ("1.5h", 5400),
        ("0.25", 0.25),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert values.duration("--time-limit", text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-5", "5d", "1h30", "m", "1 m", "30m1h", "1e9"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        values.duration("--time-limit", text)
    rule = "must be a time above 0, as 90s, 25m or 1h30m"
    assert str(caught.value) == f"--time-limit: {rule}. Got {text!r}."


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("2G", 2 * 10**9), ("1.5 GB", 15 * 10**8), ("500m", 5 * 10**8), ("7", 7), ("2GiB", 2**31)],
)
def test_sizes(text: str, nbytes: int) -> None:
    assert values.size("--memory", text) == nbytes


@pytest.mark.parametrize("text", ["", "0", "0G", "-1G", "G", "1P", "1e9", "1.G", "2 G B", "٣G"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        values.size("--memory", text)
    rule = "must be a size above 0, as 500M or 2G"
    assert str(caught.value) == f"--memory: {rule}. Got {text!r}."


def test_files_of_a_format() -> None:
    parse = values.FileOf(".npz", ".csv")
    assert parse.metavar == "FILE.npz|FILE.csv"
    for text in ("a.npz", "b/a.CSV", "a.onnx.npz"):
        assert parse("--output", text) == Path(text)
    for text in ("a", "a.npz/b", ".npz", "a.npz.gz"):
        with pytest.raises(UsageError) as caught:
            parse("--output", text)
        assert str(caught.value) == f"--output: must be a .npz or .csv file. Got {text!r}."


@pytest.mark.parametrize("text", ["", "1.0", "+1", "1_000", "٣"])
def test_what_is_no_whole_number(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--n: must be a whole number, 0 or more\. Got '"):
        values.whole()("--n", text)


@pytest.mark.parametrize("text", ["2147483648", "9" * 5000])
def test_a_whole_number_that_is_too_large(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--n: must be at most 2,147,483,647\. Got '") as caught:
        values.whole()("--n", text)
    assert len(str(caught.value)) < 600


def test_whole_numbers() -> None:
    assert values.whole()("--n", "007") == 7
    assert values.whole(below=2**63)("--seed", str(2**63 - 1)) == 2**63 - 1


@pytest.mark.parametrize("text", ["inf", "nan", "-0.1", "one", ""])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--lr: must be a number, 0 or more\. Got '"):
        values.number()("--lr", text)


@pytest.mark.parametrize(
    ("parameter", "place"),
    [
        (Option("--batch-size", "-b", parser=values.path, help=""), "--batch-size"),
        (Option("--output", "-o", "--out", parser=values.path, help=""), "--out"),
        (Argument(metavar="[DIR]", parser=values.path, help=""), "DIR"),
        (Argument(metavar="CKPT|RUN", parser=values.path, help=""), "CKPT"),
        (Argument(parser=values.OneWord(("a", "b")), place="letters", help=""), "letters"),
    ],
)
def test_an_error_names_the_parameter(parameter: Parameter, place: str) -> None:
    assert parameter.parse is not None
    with pytest.raises(UsageError) as caught:
        parameter.parse("")
    assert caught.value.place == place


def test_words_are_shown_in_the_help() -> None:
    assert (
        Option("--which", parser=values.OneWord(("ema", "model")), help="").metavar == "ema|model"
    )


read: Any = partial(gate(topk=True), "--fail-under")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("top1=0.9", Gate(Metric("top1"), "0.9", 0.9)),
        ("0.9", Gate(Metric("top1"), "0.9", 0.9)),
        ("top5=1", Gate(Metric("top5"), "1", 1.0)),
        ("topk=.5", Gate(Metric("topk"), ".5", 0.5)),
        ("loss=2.5", Gate(Metric("loss"), "2.5", 2.5)),
        ("mcc=-0.5", Gate(Metric("mcc"), "-0.5", -0.5)),
        ("brier=1.5", Gate(Metric("brier"), "1.5", 1.5)),
        ("recall:cat=0.9", Gate(Metric("recall", "cat"), "0.9", 0.9)),
        ("f1:a=b:c=0.9", Gate(Metric("f1", "a=b:c"), "0.9", 0.9)),
        ("precision:=:=1=1", Gate(Metric("precision", "=:=1"), "1", 1.0)),
        ("specificity:top1=1", Gate(Metric("specificity", "top1"), "1", 1.0)),
    ],
)
def test_gates(text: str, expected: Gate) -> None:
    assert read(text) == expected


WRITTEN = "must be written METRIC=BOUND, as top1=0.9, recall:CLASS=0.8 or loss=0.5"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("top1", f"{WRITTEN}. Got 'top1'."),
        ("top1=", f"{WRITTEN}. Got 'top1='."),
        ("=0.5", f"{WRITTEN}. Got '=0.5'."),
        ("recall:a=b", f"{WRITTEN}. Got 'recall:a=b'."),
        ("top0=0.5", "no such metric. Did you mean 'top5'? Got 'top0'."),
        ("macrof1=0.5", "no such metric. Did you mean 'macro_f1'? Got 'macrof1'."),
        ("accuracy=0.5", "no such metric. Did you mean 'top1'? Got 'accuracy'."),
        ("f1=0.5", "no such metric. Did you mean 'macro_f1'? Got 'f1'."),
        ("recal:cat=0.5", "no such metric. Did you mean 'recall:cat'? Got 'recal:cat'."),
        ("recall:=0.5", "no such metric. Did you mean 'recall:CLASS'? Got 'recall:'."),
        ("zzz=0.5", "no such metric. Got 'zzz'."),
        ("top\u0661=0.5", "no such metric. Did you mean 'top5'? Got 'top\u0661'."),
        ("top1=1.5", "the bound of top1 must be from 0 to 1. Got '1.5'."),
        ("90", "the bound of top1 must be from 0 to 1. Got '90'."),
        ("top1=nan", "the bound of top1 must be from 0 to 1. Got 'nan'."),
        ("loss=-1", "the bound of loss must be from 0 to 1e+09. Got '-1'."),
        ("kappa=-2", "the bound of kappa must be from -1 to 1. Got '-2'."),
    ],
)
def test_what_is_no_gate(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert str(caught.value) == f"--fail-under: {message}"


def test_a_training_does_not_know_k() -> None:
    with pytest.raises(UsageError) as caught:
        gate(topk=False)("--fail-under", "topk=0.5")
    message = "no such metric. Did you mean 'top5'? Got 'topk'."
    assert str(caught.value) == f"--fail-under: {message}"


def test_bounds_are_kept_when_met() -> None:
    read("top1=0.9").check(0.9, "none")
    read("loss=0.5").check(0.5, "none")


@pytest.mark.parametrize(
    ("text", "value", "message"),
    [
        ("top1=0.9", 0.8999999, "top1 must be at least 0.9. Got 0.8999999."),
        ("loss=0.5", 0.75, "loss must be at most 0.5. Got 0.75."),
        ("loss=0.5", float("nan"), "loss must be at most 0.5. Got nan."),
        ("top1=0.9", None, "top1 must be at least 0.9. Got none."),
    ],
)
def test_bounds_that_are_not_kept(text: str, value: float | None, message: str) -> None:
    with pytest.raises(GateError) as caught:
        read(text).check(value, "none")
    assert str(caught.value) == f"--fail-under: {message}"
