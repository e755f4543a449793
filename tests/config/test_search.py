"""The search space of a sweep as typed, and values drawn from it."""

from __future__ import annotations

from dataclasses import replace
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learnable import config_document

from cnn_cli.config import Config, validate_config
from cnn_cli.config.search import Choices, Range, parse_space
from cnn_cli.config.yaml12 import parse_yaml
from cnn_cli.errors import ConfigError

UNIFORM = st.floats(0, 1, exclude_max=True)


def config_of(**train: Any) -> Config:
    return validate_config(config_document(Path("photos"), **train), "c.yaml")


def test_ranges_choices_and_overrides() -> None:
    space, overrides = parse_space(
        [
            "train.optimizer.lr=1e-3..1e-1",
            "train.epochs=3",
            "train.optimizer.type=sgd, adamw",
            "augment.random_resized_crop=[0.5, 1.0],[0.08,1.0]",
            "data.root=../photos",
            "train.scheduler={type: step, step_size: 3},cosine",
            "model.init='a,b'",
            "data.classes=[a,b]",
            "augment.rotate=-5..5.5",
        ]
    )
    assert space == [
        Range("train.optimizer.lr", "1e-3", "1e-1"),
        Choices("train.optimizer.type", ("sgd", "adamw")),
        Choices("augment.random_resized_crop", ("[0.5, 1.0]", "[0.08,1.0]")),
        Choices("train.scheduler", ("{type: step, step_size: 3}", "cosine")),
        Range("augment.rotate", "-5", "5.5"),
    ]
    assert overrides == [
        "train.epochs=3",
        "data.root=../photos",
        "model.init='a,b'",
        "data.classes=[a,b]",
    ]
    assert [each.typed for each in space][:2] == [
        "train.optimizer.lr=1e-3..1e-1",
        "train.optimizer.type=sgd,adamw",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a=0.1..0.01"], "a=0.1..0.01: a range must begin below its end."),
        (["a=1..1"], "a=1..1: a range must begin below its end."),
        (["a=1..1e999"], "a=1..1e999: a range must begin below its end."),
        (["a=1,,2"], "a=1,,2: must be different values with commas between them."),
        (["a=1,1"], "a=1,1: must be different values with commas between them."),
        (["a=.05,0.050"], "a=.05,0.050: must be different values with commas between them."),
        (["a=b,none,null"], "a=b,none,null: must be different values with commas between them."),
        (["a=1..2", "a=3"], "a=3: a must be given once."),
    ],
)
def test_what_is_nothing_to_search(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_space(words)
    assert caught.value.line() == message


@given(UNIFORM, st.sampled_from([("1e-3", "1e-1"), ("0.12345", "0.12346"), ("-2", "3.5")]))
def test_numbers_stay_within_their_range(uniform: float, ends: tuple[str, str]) -> None:
    each = Range("key", *ends)
    value = parse_yaml(each.draw(uniform), "key")
    assert float(ends[0]) <= value <= float(ends[1])


@given(UNIFORM)
def test_whole_numbers_are_whole(uniform: float) -> None:
    value = parse_yaml(Range("key", "2", "8", whole=True).draw(uniform), "key")
    assert type(value) is int
    assert 2 <= value <= 8


def test_logarithms_are_drawn_evenly_from_a_decade_on() -> None:
    uniforms = np.linspace(0, 1, 101)[:-1]
    for low, high, whole, is_log in (
        ("1e-3", "1e-1", False, True),
        ("1", "10", False, True),
        ("1", "9.9", False, False),
        ("-1", "10", False, False),
        ("0", "10", False, False),
        ("16", "256", True, False),
    ):
        each = Range("key", low, high, whole)
        middle = float(each.draw(0.5))
        ends = float(low), float(high)
        logarithmic = 10 ** (sum(map(log10, ends)) / 2) if ends[0] > 0 else None
        expected = logarithmic if is_log else sum(ends) / 2
        assert middle == pytest.approx(expected, rel=1e-3)
        drawn = [float(each.draw(u)) for u in uniforms]
        assert drawn == sorted(drawn)


def test_every_choice_and_whole_number_is_as_likely() -> None:
    uniforms = np.arange(600) / 600
    for each in (Choices("key", ("a", "b", "c")), Range("key", "4", "6", whole=True)):
        drawn = [each.draw(u) for u in uniforms]
        assert {word: drawn.count(word) for word in drawn} == dict.fromkeys(set(drawn), 200)
        assert each.count == 3
    assert Range("key", "4", "6").count == float("inf")


def test_the_configs_own_values() -> None:
    config = config_of(optimizer={"type": "sgd", "lr": 0.05}, label_smoothing=0.1)
    assert Range("train.optimizer.lr", "1e-3", "1e-1").of(config) == "0.05"
    assert Range("train.optimizer.lr", "1e-3", "1e-2").of(config) is None
    assert Choices("train.optimizer.lr", ("5e-2", "1")).of(config) == "5e-2"
    assert Choices("train.optimizer.type", ("adamw", "sgd")).of(config) == "sgd"
    assert Choices("train.optimizer.type", ("adamw", "adam")).of(config) is None
    assert Range("model.layers.0.conv.out_channels", "2", "8").of(config) == "6"
    for key in ("train.optimizer", "train.optimizer.beta", "model.layers.77.conv", "data.cache"):
        assert Range(key, "0", "1").of(config) is None


def test_a_number_between_whole_ends() -> None:
    assert Range("key", "2", "8").between == "2.5"
    assert Range("key", "2.0", "8").between == "2.5"
    assert Range("key", "2", "8.5").between is None
    assert replace(Range("key", "2", "8"), whole=True).ends == ("2", "8")
