"""YAML 1.2's core schema, and hostile documents."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cnn_cli.config.yaml12 import parse_yaml
from cnn_cli.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("off", "off"),
        ("yes", "yes"),
        ("on", "on"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("tRUE", "tRUE"),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("1_000", "1_000"),
        ("010", 10),
        ("-010", -10),
        ("+1", 1),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b1", "0b1"),
        ("1e-3", 1e-3),
        ("1E3", 1000.0),
        ("5.0e-4", 5e-4),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.5", -0.5),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("inf", "inf"),
        ("nan", "nan"),
        ("1e", "1e"),
        (".", "."),
        ("", None),
        ("~", None),
        ("null", None),
        ("none", None),
        ("None", None),
        ("NONE", None),
        ("nOne", "nOne"),
        ("'none'", "none"),
        ('"1"', "1"),
        ("=", "="),
        ("<<: {a: 1}", {"a": 1}),
        ("'<<': {a: 1}", {"<<": {"a": 1}}),
        ("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}", {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}}),
        ("<<: [{a: 1}, {a: 2, b: 3}]\nc: 4", {"a": 1, "b": 3, "c": 4}),
        (
            "a: {b: &x {p: {q: 1}}}\nc: {<<: *x}",
            {"a": {"b": {"p": {"q": 1}}}, "c": {"p": {"q": 1}}},
        ),
        ("a: &x {<<: {p: 1}}\nb: &y {<<: *x}\nc: {<<: *y}", {k: {"p": 1} for k in "abc"}),
        ("[1, [2.0, x], {a: }]", [1, [2.0, "x"], {"a": None}]),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("# nothing", None),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    parsed = parse_yaml(text, "a")
    assert parsed == value
    assert type(parsed) is type(value)


def test_not_a_number() -> None:
    assert math.isnan(parse_yaml(".nan", "a"))


def message(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "a.yaml")
    line = caught.value.line()
    assert line.startswith("a.yaml: ")
    assert "\n" not in line
    return line[len("a.yaml: ") :]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3", "is not YAML: the key 'a' occurs twice at line 3, column 1."),
        ("{x: {a: 1, a: 1}}", "is not YAML: the key 'a' occurs twice at line 1, column 12."),
        ("? [1]\n: 2", "is not YAML: a key must be a word at line 1, column 3."),
        (
            "{<<: {a: 1}, <<: {}}",
            "is not YAML: the key '<<' occurs twice at line 1, column 14.",
        ),
        (
            "{<<: [{a: 1}, 3]}",
            "is not YAML: << takes a mapping, or a list of mappings at line 1, column 15.",
        ),
        ("a: &a {<<: *a}", "must be at most 60 levels deep. Got deeper nesting."),
        (
            "- &a0 {}\n"
            + "".join(f"- &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 60)),
            "is not YAML: more than 100,000 values.",
        ),
        ("a: b: c", "is not YAML: mapping values are not allowed here at line 1, column 5."),
        ("a:\n\tb: 1", "is not YAML: a tab where spaces are needed at line 2, column 1."),
        (
            "a:\n  b: 1\n c: 2",
            "is not YAML: the indentation does not fit the lines above at line 3, column 2.",
        ),
        ("a: *b", "is not YAML: found undefined alias 'b' at line 1, column 4."),
        (
            "a: !!python/object:os.system x",
            "is not YAML: could not determine a constructor for the tag"
            " 'tag:yaml.org,2002:python/object:os.system' at line 1, column 4.",
        ),
        (
            "!foo x",
            "is not YAML: could not determine a constructor for the tag '!foo'"
            " at line 1, column 1.",
        ),
        ("!!int x", "is not YAML: invalid literal for int() with base 10: 'x'."),
        ("&a [1, *a]", "must be at most 60 levels deep. Got deeper nesting."),
        ("[" * 62 + "]" * 62, "must be at most 60 levels deep. Got deeper nesting."),
        ("[" * 100_000, "must be at most 60 levels deep. Got deeper nesting."),
    ],
)
def test_what_is_refused(text: str, expected: str) -> None:
    assert message(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "!!timestamp x",
        "!!timestamp 2001-01-01",
        "!!bool x",
        "!!map [1]",
        "!!set {a, b}",
        "!!omap [a: 1]",
        "!!pairs [a: 1]",
        "!!binary aGk=",
        "!!int [1]",
        "!!float {a: 1}",
        "!!bool [true]",
        "!!null {a: 1}",
        "!!str {a: 1}",
        "'",
        '"\\x"',
        "%YAML 9.9\n---\na",
        "--- 1\n--- 2",
        "\tx: 1",
        "9" * 5000,
    ],
)
def test_every_other_trouble_is_one_line_too(text: str) -> None:
    assert message(text).startswith("is not YAML: ")


def test_sixty_levels_are_allowed() -> None:
    assert parse_yaml("[" * 60 + "]" * 60, "a")


def test_a_billion_laughs() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for i in range(1, 10):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]")
    assert message("\n".join(lines)) == (
        "is not YAML: more than 100,000 values once aliases are written out."
    )
