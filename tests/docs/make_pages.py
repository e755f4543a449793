"""Generate pages from the code: `python tests/docs/make_pages.py`."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

import cnn_cli
from cnn_cli.cli.shared.parser import program
from cnn_cli.config import Config
from cnn_cli.config.json_schema import config_schema
from cnn_cli.config.layer_model import LayerConfig
from cnn_cli.config.layers import LAYER_KINDS
from cnn_cli.config.templates import DEFINE, NETWORK
from cnn_cli.data.augment import TECHNIQUES
from cnn_cli.data.label_table import ColumnsConfig
from cnn_cli.data.progressive_resizing import ProgressiveResizingConfig
from cnn_cli.nn.losses import LOSSES
from cnn_cli.optim.averages import LookaheadConfig
from cnn_cli.optim.optimizers import OPTIMIZERS
from cnn_cli.optim.schedule import SCHEDULERS
from cnn_cli.schema.constraints import Constraint
from cnn_cli.schema.described import attributes, summary
from cnn_cli.schema.fields import OneOf, once
from cnn_cli.schema.whitening import WhiteningConfig

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "cnn_cli/docs"
KEYS = ("key", "type", "default", "meaning")
MAPPINGS = {"progressive_resizing": ProgressiveResizingConfig, "lookahead": LookaheadConfig}
TITLES = {"Args:": "argument", "Attributes:": "attribute", "Raises:": "error"}
MARK = "<!-- From here on written from the code, by tests/docs/make_pages.py. -->"


def pages() -> dict[str, str]:
    """Return the pages by name: the hand-written part down to the mark, and the generated rest."""
    parts = {
        "commands": commands_page(),
        "config": config_page(),
        "layers": layers_page(),
        "python": python_page(),
    }
    return {name: f"{introduction(name)}{MARK}\n\n{text}" for name, text in parts.items()}


def introduction(name: str) -> str:
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert text.count(MARK) == 1
    return text.partition(MARK)[0]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield row(header)
    yield "|" + "---|" * len(header)
    yield from map(row, rows)
    yield ""


def row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


# The commands.


def commands_page() -> str:
    command = program()
    with command.make_context("cnn", ["--help"], resilient_parsing=True) as context:
        lines = [line for each in below(context) for line in part(*each)]
    return "\n".join(lines).rstrip() + "\n"


def below(context: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the commands with their contexts, with groups expanded."""
    for name in context.command.list_commands(context):
        command = context.command.get_command(context, name)
        inner = type(context)(command, info_name=name, parent=context)
        if hasattr(command, "list_commands"):
            yield from below(inner)
        else:
            yield command, inner


def part(command: Any, context: Any) -> Iterator[str]:
    """A command's section."""
    yield f"## {context.command_path}"
    yield ""
    words = " ".join(command.collect_usage_pieces(context))
    yield f"    {context.command_path} {words}"
    yield ""
    paragraphs = command.help.split("\n\n")
    for paragraph in paragraphs:
        yield " ".join(paragraph.split())
        yield ""
    rows = [
        (f"`{parameter.metavar}`", parameter.help)
        for parameter in command.params
        if parameter.param_type_name == "argument"
    ]
    for parameter in command.params:
        if parameter.param_type_name == "option":
            names, text = parameter.get_help_record(context)
            rows.append((f"`{names}`", text))
    yield from table(("argument or option", "meaning"), rows)
    for line in command.epilog.splitlines():
        if line.startswith("  "):
            yield f"    {line.strip()}"
    yield ""


# The config.


def config_page() -> str:
    lines = []
    for key, field in Config.model_fields.items():
        model: Any = field.annotation
        lines += [f"## {key}", "", *text_of(model)]
        if key == "model":
            lines += table(KEYS, [*rows_of(model), *templates()])
            continue
        lines += keys(model)
        if key == "data":
            lines += ["### data.columns", "", *text_of(ColumnsConfig), *keys(ColumnsConfig)]
        if key == "augment":
            for name, technique in TECHNIQUES.items():
                lines += [f"### augment.{name}", "", *text_of(technique), *keys(technique)]
        if key == "train":
            choices: dict[str, Any] = {
                "optimizer": OPTIMIZERS,
                "scheduler": SCHEDULERS,
                "loss": LOSSES,
            }
            for part_of, kinds in choices.items():
                for name, kind in kinds.items():
                    lines += [f"### train.{part_of}: {name}", "", *text_of(kind), *keys(kind)]
            for name, model in MAPPINGS.items():
                lines += [f"### train.{name}", "", *text_of(model), *keys(model)]
    return "\n".join(lines).rstrip() + "\n"


def text_of(model: type[BaseModel]) -> Iterator[str]:
    for paragraph in summary(model).splitlines():
        yield paragraph
        yield ""


def keys(model: type[BaseModel], without: Sequence[str] = ("type",)) -> Iterator[str]:
    """Yield the table of a model's keys."""
    rows = rows_of(model, without)
    if rows:
        yield from table(KEYS, rows)


def rows_of(model: type[BaseModel], without: Sequence[str] = ("type",)) -> list[Sequence[str]]:
    texts = attributes(model)
    return [
        (f"`{key}`", type_of(field), default_of(field), texts[key])
        for key, field in model.model_fields.items()
        if key not in without
    ]


def templates() -> Iterator[Sequence[str]]:
    """Yield the keys that are expanded before a config is checked, and belong to no model."""
    texts = config_schema()["$defs"]["ModelConfig"]["properties"]
    types = {
        NETWORK: "a name, or a mapping of name and arguments",
        DEFINE: "a mapping of names to lists of layers, or to values",
    }
    for key, words in types.items():
        yield f"`{key}`", words, "`none`", texts[key]["description"]


def type_of(field: FieldInfo) -> str:
    """Return the words of the error for an invalid value."""
    if "dict[" in repr(field.annotation):
        names = "a mapping of names to numbers"
        return (
            names
            if get_origin(field.annotation) is dict
            else f"a number, a list of names, or {names}"
        )
    rule = find(field, Constraint)
    if rule is not None:
        return f"{rule.rule}, or {rule.of_list}" if rule.of_list else str(rule.rule)
    written = repr(field.annotation)
    if "LayerConfig" in written or "ReLUConfig" in written:
        return "a list of lists of layers" if written.count("tuple[") > 1 else "a list of layers"
    if find(field, OneOf) is not None:
        return "a type, or a mapping with `type`"
    if any(name in written for name in ("ColumnsConfig", "HeadConfig", "LookaheadConfig")):
        return "a mapping"
    lone = "true" if "ProgressiveResizingConfig" in written else "the value of its first key"
    return f"a mapping, or {lone}"


def find(field: Any, kind: type) -> Any:
    """Return the first annotation of a kind, on a field or on a part of its type."""
    todo = [*field.metadata, field.annotation]
    while todo:
        first = todo.pop(0)
        if isinstance(first, kind):
            return first
        if not hasattr(first, "__origin__") or first.__origin__ is not tuple:
            todo += getattr(first, "__metadata__", ()) or get_args(first)
    return None


def default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = once(field.get_default(call_default_factory=True))
    if value is None:
        return "`none`"
    if isinstance(value, BaseModel):
        return f"`{value.type}`" if hasattr(value, "type") else ""
    return f"`{shown(value)}`"


def shown(value: Any) -> str:
    """Return a value as written in a config."""
    match value:
        case str():
            return value
        case float():
            return f"{value:.4g}"
        case tuple():
            return f"[{', '.join(map(shown, value))}]"
    return json.dumps(value)


# The layers.


def layers_page() -> str:
    overview = [
        (f"`{kind}`", signature(model), summary(model).splitlines()[0])
        for kind, model in LAYER_KINDS.items()
    ]
    lines = [*table(("layer", "arguments", "what it does"), overview)]
    for kind, model in LAYER_KINDS.items():
        if signature(model):
            lines += [f"## {kind}", "", *text_of(model), *keys(model, ["name"])]
        if kind == "conv":
            lines += ["### init: whitening", "", *text_of(WhiteningConfig), *keys(WhiteningConfig)]
    return "\n".join(lines).rstrip() + "\n"


def signature(model: type[LayerConfig]) -> str:
    """`num_groups, eps=1e-05`."""
    return ", ".join(
        key if field.is_required() else f"{key}={default_of(field).strip('`')}"
        for key, field in model.model_fields.items()
        if key != "name"
    )


# Python.


def python_page() -> str:
    lines: list[str] = []
    for name in cnn_cli.__all__:
        found = getattr(cnn_cli, name)
        if callable(found):
            lines += definition(name, found)
            members = vars(found).items() if isinstance(found, type) else ()
            for member, inner in members:
                if not member.startswith("_") and inner.__doc__ and hasattr(inner, "__doc__"):
                    if isinstance(inner, property):
                        lines += [f"### {name}.{member}", "", *paragraphs(inner.__doc__)]
                    elif inspect.isfunction(inner):
                        lines += definition(f"{name}.{member}", inner, "###")
    return "\n".join(lines).rstrip() + "\n"


def definition(name: str, found: Any, marks: str = "##") -> Iterator[str]:
    """Yield a function's or class's heading, signature and docstring."""
    yield from (f"{marks} {name}", "")
    if inspect.isfunction(found):
        signature_ = str(inspect.signature(found)).replace("'", "").replace("self, ", "")
        yield from ("```python", f"{name}{signature_.replace('(self)', '()')}", "```", "")
    yield from paragraphs(found.__doc__)


def paragraphs(docstring: str) -> Iterator[str]:
    """A docstring's text, with its sections (`Args:`, `Raises:`) as tables."""
    for part in inspect.cleandoc(docstring).split("\n\n"):
        title, _, rest = part.partition("\n")
        if title not in ("Args:", "Attributes:", "Raises:", "Returns:"):
            yield from (" ".join(part.split()), "")
        elif title == "Returns:":
            text = " ".join(rest.split())
            yield from (f"Returns: {text[0].lower()}{text[1:]}", "")
        else:
            entries = re.split(r"\n(?=\S)", inspect.cleandoc(rest))
            pairs = [entry.partition(":") for entry in entries]
            rows = [(f"`{head}`", " ".join(text.split())) for head, _, text in pairs]
            yield from table((TITLES[title], "meaning"), rows)


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / f"{name}.md").write_text(text, encoding="utf-8")
