"""YAML with the scalars of version 1.2.

PyYAML implements version 1.1, in which `no` is a boolean, `010` is eight, `1:30` is ninety and
`1e-3` is a string. This module uses the core schema of YAML 1.2 (section 10.3). In addition, `none`
is null, a duplicate key is an error, and `<<: *name` merges a mapping below another one, as in YAML
1.1.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from cnn_cli.errors import ConfigError, cut

MAX_VALUES = 100_000
MAX_DEPTH = 60
MERGE = "<<"

_NULL = re.compile(r"^(?:~|null|Null|NULL|none|None|NONE|)$")
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)


class _Loader(yaml.SafeLoader):
    """SafeLoader with the core schema's scalars; it builds plain containers only, and gives up on
    what is too deep or too much before it costs seconds."""

    nodes = 0

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as PyYAML declares it

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        if self.flow_level > MAX_DEPTH:
            raise RecursionError
        super().fetch_flow_collection_start(token)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._count(1)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise yaml.constructor.ConstructorError(None, None, "not a mapping", node.start_mark)
        seen, own = set(), []
        merged: list[tuple[Hashable, Any]] = []
        for pair in node.value:
            key = self.construct_object(pair[0], deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a word", pair[0].start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} occurs twice", pair[0].start_mark
                )
            seen.add(key)
            if key == MERGE and pair[0].style is None:  # the quoted word is an ordinary key
                merged = self._below(pair[1])
            else:
                own.append(pair)
        rest = yaml.MappingNode(node.tag, own, node.start_mark, node.end_mark)
        return dict(merged) | super().construct_mapping(rest, deep)

    def _below(self, node: yaml.Node) -> list[tuple[Hashable, Any]]:
        """Return the keys of a mapping, or of a list of mappings in which earlier ones win."""
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        pairs: list[tuple[Hashable, Any]] = []
        for each in reversed(nodes):
            if not isinstance(each, yaml.MappingNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "<< takes a mapping, or a list of mappings", each.start_mark
                )
            pairs += self.construct_mapping(each, deep=True).items()
            self._count(1 + len(each.value))
        return pairs

    def _count(self, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > 2 * MAX_VALUES:  # keys are nodes as well
            raise ValueError(f"more than {MAX_VALUES:,} values")


def _construct_null(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> None:
    loader.construct_scalar(node)


def _construct_bool(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> bool:
    text = str(loader.construct_scalar(node))
    if not _BOOL.match(text):
        raise ValueError(f"{text!r} is not true or false")
    return text.lower() == "true"


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def _construct_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node))
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


class _Dumper(yaml.SafeDumper):
    """Quotes strings that `_Loader` would read as another type."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as PyYAML declares it


# The first matching pattern decides, so int comes before float.
for _tag, _pattern, _first in (
    ("null", _NULL, ["~", "n", "N", ""]),
    ("bool", _BOOL, list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
):
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _first)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])
# Only these tags: configs need no dates, sets or binaries.
_Loader.yaml_constructors = {
    "tag:yaml.org,2002:null": _construct_null,
    "tag:yaml.org,2002:bool": _construct_bool,
    "tag:yaml.org,2002:int": _construct_int,
    "tag:yaml.org,2002:float": _construct_float,
    "tag:yaml.org,2002:str": yaml.SafeLoader.construct_yaml_str,
    "tag:yaml.org,2002:seq": yaml.SafeLoader.construct_yaml_seq,
    "tag:yaml.org,2002:map": yaml.SafeLoader.construct_yaml_map,
    None: yaml.SafeLoader.construct_undefined,
}


def parse_yaml(text: str, place: str) -> Any:
    """Parse YAML into dict, list, str, int, float, bool and None.

    Args:
        text: the YAML text.
        place: its source, for the error message.

    Raises:
        ConfigError: it is not YAML, a key is given twice, an alias contains itself, or it has more
            than 100,000 values or 60 levels once aliases are expanded.
    """
    try:
        value = yaml.load(text, Loader=_Loader)
        _measure(value, {}, 0)
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        line = "" if where is None else f" at line {where.line + 1}, column {where.column + 1}"
        raise ConfigError(place, f"is not YAML: {_problem(error.problem)}{line}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(place, f"is not YAML: {_problem(str(error))}") from error
    except RecursionError as error:
        rule = f"must be at most {MAX_DEPTH} levels deep"
        raise ConfigError(place, rule, "deeper nesting") from error
    return value


def dump_yaml(value: Any) -> str:
    """Return text that `parse_yaml` reads back; ASCII, because names may contain any bytes."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=False)
    return text


def _problem(text: str | None) -> str:
    """Return PyYAML's words for a problem on one line, or plainer ones for the usual mistakes."""
    words = " ".join((text or "").split())
    if "'\\t' that cannot start" in words:
        return "a tab where spaces are needed"
    if words.startswith("expected <block end>"):
        return "the indentation does not fit the lines above"
    return cut(words)


def _measure(value: Any, sizes: dict[int, int], depth: int) -> int:
    """Count the values in `value` with aliases expanded."""
    if depth > MAX_DEPTH:
        raise RecursionError
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in sizes:
        children = value.values() if isinstance(value, dict) else value
        sizes[id(value)] = 1 + sum(_measure(child, sizes, depth + 1) for child in children)
    if sizes[id(value)] > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES:,} values once aliases are written out")
    return sizes[id(value)]
