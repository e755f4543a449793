"""Templates: a network written in user-defined blocks, expanded to plain layers.

`model.define` defines blocks, `cb(c, k, s=1)`, and values, `width: 1`; `model.network` names a
built-in network. The result is `model.layers`, as if written by hand, and for each layer the places
where it is written and where it was called.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from cnn_cli.config.expressions import NAME, ExpressionError, Scope, evaluate, substitute
from cnn_cli.config.layers import LAYER_KINDS, MOST_REPEATS
from cnn_cli.config.places import Places
from cnn_cli.config.show import show
from cnn_cli.errors import ConfigError, suggest
from cnn_cli.peer_names import layer_hint

LAYERS, DEFINE, NETWORK = "layers", "define", "network"
WHEN = "when"
MOST_STEPS = 100_000
DEEPEST = 24  # nested calls, and nested lists of layers

HEAD_RULE = "a block is named as in cb(c, k, s=1), on a line of its own or in quotes"
_HEAD = re.compile(rf"({NAME})\s*(?:\((.*)\))?")
_PARAMETER = re.compile(rf"({NAME})\s*(?:=(.*))?")
_LITERALS = {"true": True, "false": False, "none": None, "null": None}


@dataclass(frozen=True, slots=True)
class Template:
    """A named block.

    Attributes:
        parameters: their defaults as written, by name; None without a default.
        body: its layers.
    """

    name: str
    parameters: Mapping[str, str | None]
    body: Sequence[Any]

    @property
    def head(self) -> str:
        """`cb(c, k, s=1)`."""
        each = (
            name if default is None else f"{name}={default}"
            for name, default in self.parameters.items()
        )
        return f"{self.name}({', '.join(each)})"


def write_out(
    model: Mapping[str, Any], source: str, *, keep_define: bool = False
) -> tuple[dict[str, Any], Places]:
    """Expand a config's section `model`; return it without templates, and where its layers are
    written.

    Args:
        model: the section; only templates are checked.
        source: the config's file, for messages.
        keep_define: keep the definitions, because layers added later may use them.

    Raises:
        ConfigError: the place in the definition and its use, the rule, and what was found.
    """
    rest = {key: value for key, value in model.items() if key not in (DEFINE, NETWORK)}
    before, define = "model", model.get(DEFINE)
    if model.get(NETWORK) is not None:
        from cnn_cli.config.networks import named_network

        for key in (LAYERS, DEFINE):
            if model.get(key) is not None:
                raise ConfigError(f"{source}: model", f"{NETWORK} or {key}: one of them")
        name, shipped = named_network(model[NETWORK], f"{source}: model.{NETWORK}")
        define = shipped.pop(DEFINE)
        rest = shipped | rest
        before = f"model.{NETWORK}: {name}.yaml: model"
    writer = _Writer(source)
    writer.define(define, f"{before}.{DEFINE}")
    if isinstance(rest.get(LAYERS), list):
        here = _Here(f"{before}.{LAYERS}", writer.values)
        rest[LAYERS] = writer.layers(rest[LAYERS], here, f"model.{LAYERS}")
    if keep_define and define is not None:
        rest[DEFINE] = define
    return rest, Places(writer.places)


@dataclass(frozen=True, slots=True)
class _Here:
    """The context of a layer.

    Attributes:
        place: place of the layer, or of the list of layers.
        scope: the values that it can refer to.
        calls: names of the enclosing templates.
        uses: places of their calls, innermost first.
    """

    place: str
    scope: Scope
    calls: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()

    def at(self, step: str) -> _Here:
        return _Here(f"{self.place}{step}", self.scope, self.calls, self.uses)

    def text(self) -> str:
        return ", in ".join((self.place, *self.uses))


class _Writer:
    """Expands templates.

    Attributes:
        values: the global values of `$name`.
        places: places of layers, by their place in the expanded network.
    """

    def __init__(self, source: str) -> None:
        self.values: dict[str, Any] = {}
        self.places: dict[str, tuple[str, ...]] = {}
        self._source = source
        self._templates: dict[str, Template] = {}
        self._definitions = ""
        self._steps = self._depth = 0

    def define(self, written: Any, place: str) -> None:
        """Read `model.define`."""
        self._definitions = place
        here = _Here(place, self.values)
        if written is None:
            return
        if not isinstance(written, dict):
            self._refuse(
                here, "must be a mapping of names to lists of layers, or to values", written
            )
        for head, value in written.items():
            if not isinstance(value, list | dict):
                self._constant(head, value, here)
            else:
                template = self._template(head, value, here)
                self._templates[template.name] = template

    def layers(self, written: Sequence[Any], here: _Here, to: str) -> list[Any]:
        """Expand a list of layers.

        Args:
            written: the list as in the config.
            here: context of the list.
            to: place of the list in the expanded network.
        """
        if self._depth == DEEPEST:
            self._refuse(here, f"layers are at most {DEEPEST} levels deep", shown=False)
        out: list[Any] = []
        self._depth += 1
        self._append(written, here, out, to)
        self._depth -= 1
        return out

    def _append(self, written: Sequence[Any], here: _Here, out: list[Any], to: str) -> None:
        for i, layer in enumerate(written):
            self._append_one(layer, here.at(f"[{i}]"), out, to)

    def _append_one(self, layer: Any, here: _Here, out: list[Any], to: str) -> None:
        self._step(here)
        if isinstance(layer, str):
            layer = self._value(layer, here)
            if isinstance(layer, list):
                self._append(layer, here, out, to)
                return
        name, arguments = layer, None
        if isinstance(layer, dict) and len(layer) == 1:
            ((name, arguments),) = layer.items()
            if isinstance(name, str):
                name = self._value(name, here)
        if not isinstance(name, str):
            self._keep(layer, here, out, to)
            return
        inside = here.at(f".{name}")
        if name in self._templates:
            self._call(self._templates[name], self._deep(arguments, inside), inside, out, to)
        elif name == WHEN:
            self._when(arguments, inside, out, to)
        elif (
            name == "repeat" and isinstance(arguments, dict) and arguments.get("index") is not None
        ):
            self._repeat(arguments, inside, out, to)
        elif self._templates and name not in LAYER_KINDS:
            near = layer_hint(name) or suggest(name, [*LAYER_KINDS, *self._templates])
            self._refuse(here, f"no such layer or block.{near}", name)
        elif isinstance(layer, str):
            self._keep(name, here, out, to)
        else:
            place = f"{to}[{len(out)}].{name}"
            arguments = self._arguments(name, arguments, inside, place)
            if arguments is not _NOTHING:
                self._keep({name: arguments}, here, out, to)

    def _keep(self, layer: Any, here: _Here, out: list[Any], to: str) -> None:
        place = f"{to}[{len(out)}]"
        if here.uses or here.place != place:
            self.places[place] = (here.place, *here.uses)
        out.append(layer)

    def _arguments(self, name: str, written: Any, here: _Here, place: str) -> Any:
        """Expand a layer's arguments and the layers in them; `place` is its place in the result."""
        if name in ("branches", "split"):
            lists = written.get("branches") if isinstance(written, dict) else written
            if isinstance(lists, str):
                lists = self._value(lists, here)
            if not isinstance(lists, list):
                return self._deep(written, here)
            list_of = ".branches" if name == "split" else ""  # as in the places of errors
            done: Any = [
                self.layers(each, here.at(f"{list_of}[{i}]"), f"{place}{list_of}[{i}]")
                if isinstance(each, list)
                else self._deep(each, here)
                for i, each in enumerate(lists)
            ]
            if not isinstance(written, dict):
                return done
            return {
                key: done if key == "branches" else self._deep(each, here.at(f".{key}"))
                for key, each in written.items()
            }
        if name not in ("residual", "repeat"):
            return self._deep(written, here)
        if isinstance(written, list | str) and name == "residual":
            written = {LAYERS: written}
        if not isinstance(written, dict):
            return self._deep(written, here)
        done = {}
        for key, each in written.items():
            inside = here.at(f".{key}")
            value = self._value(each, inside) if isinstance(each, str) else each
            if key in (LAYERS, "shortcut") and isinstance(value, list):
                done[key] = self.layers(value, inside, f"{place}.{key}")
            else:
                done[key] = self._deep(value, inside)
        computed = isinstance(written.get("times"), str)
        return _NOTHING if computed and done["times"] == 0 and name == "repeat" else done

    def _repeat(self, written: dict[str, Any], here: _Here, out: list[Any], to: str) -> None:
        """Expand a repeat with an index, in which layers can refer to the number of their copy."""
        for key in written.keys() - {"times", "index", LAYERS}:
            rule = "a repeat with an index takes times, index and layers"
            self._refuse(here.at(f".{key}"), rule, shown=False)
        index, layers = written["index"], written.get(LAYERS)
        if not isinstance(index, str) or not re.fullmatch(NAME, index):
            self._refuse(here.at(".index"), "must be a name of letters, digits and '_'", index)
        if not isinstance(layers, list):
            self._refuse(here.at(f".{LAYERS}"), "must be a list", layers)
        times = self._deep(written.get("times"), here.at(".times"))
        if type(times) is not int or not 0 <= times <= MOST_REPEATS:
            rule = f"must be a whole number from 0 to {MOST_REPEATS}"
            self._refuse(here.at(".times"), rule, times)
        for i in range(times):
            scope = ChainMap({index: i}, here.scope)  # type: ignore[arg-type]  # it is only read
            copy = _Here(f"{here.place}.{LAYERS}", scope, here.calls, here.uses)
            self._step(here)
            self._append(layers, copy, out, to)

    def _when(self, written: Any, here: _Here, out: list[Any], to: str) -> None:
        """Expand a conditional list of layers."""
        if not isinstance(written, dict) or not {"is", LAYERS} <= written.keys():
            self._refuse(here, "takes is, layers and else", written)
        for key in written.keys() - {"is", LAYERS, "else"}:
            self._refuse(here.at(f".{key}"), "when takes is, layers and else", shown=False)
        condition = self._deep(written["is"], here.at(".is"))
        if not isinstance(condition, bool):
            self._refuse(here.at(".is"), "must be true or false, or a comparison", condition)
        key = LAYERS if condition else "else"
        chosen = written.get(key)
        if chosen is None:
            return
        if not isinstance(chosen, list):
            self._refuse(here.at(f".{key}"), "must be a list", chosen)
        self._append(chosen, here.at(f".{key}"), out, to)

    def _call(
        self, template: Template, arguments: Any, here: _Here, out: list[Any], to: str
    ) -> None:
        calls = (*here.calls, template.name)
        if len(calls) > DEEPEST:
            outermost = _Here(here.place, here.scope, uses=here.uses[-1:])
            again = calls.index(template.name)
            if again < len(here.calls):
                after = calls.index(template.name, again + 1)
                chain = " > ".join(calls[again : after + 1])
                self._refuse(outermost, f"a block must not call itself: {chain}", shown=False)
            self._refuse(outermost, f"blocks are at most {DEEPEST} calls deep", shown=False)
        scope = self._bind(template, arguments, here)
        place = f"{self._definitions}.{template.name}"
        body = _Here(place, scope, calls, (here.place, *here.uses))
        self._append(template.body, body, out, to)

    def _bind(self, template: Template, arguments: Any, here: _Here) -> Scope:
        """Return the values of a template's parameters in a call."""
        names = list(template.parameters)
        if arguments is None:
            given: dict[Any, Any] = {}
        elif isinstance(arguments, dict):
            given = arguments
        else:
            listed = arguments if isinstance(arguments, list) else [arguments]
            if len(listed) > len(names):
                rule = f"{template.head} takes at most {len(names)} arguments"
                self._refuse(here, rule, len(listed))
            given = dict(zip(names, listed, strict=False))
        for name in given:
            if name not in names:
                rule = f"{template.head} has no such parameter.{suggest(str(name), names)}"
                self._refuse(here.at(f".{name}"), rule, shown=False)
        scope = ChainMap[str, Any]({}, self.values)
        place = f"{self._definitions}.{template.name}"
        defined = _Here(place, scope, uses=(here.place, *here.uses))
        for name, default in template.parameters.items():
            if name in given:
                scope[name] = given[name]
            elif default is None:
                self._refuse(here, f"{template.head} needs {name}", shown=False)
            else:
                scope[name] = self._default(default, defined)
        return scope

    def _default(self, text: str, here: _Here) -> Any:
        """Return a default: a word, an earlier value, or an expression."""
        if text in _LITERALS:
            return _LITERALS[text]
        if re.fullmatch(NAME, text) and text not in here.scope:
            return text
        try:
            return evaluate(text, here.scope)
        except ExpressionError as error:
            self._refuse_expression(here, error)

    def _constant(self, name: Any, value: Any, here: _Here) -> None:
        inside = here.at(f".{name}")
        if isinstance(name, str) and re.search("[()]", name):
            self._refuse(inside, HEAD_RULE, shown=False)
        if not isinstance(name, str) or not re.fullmatch(NAME, name):
            self._refuse(inside, "a value's name is of letters, digits and '_'", shown=False)
        self.values[name] = self._deep(value, inside)

    def _template(self, head: Any, body: Any, here: _Here) -> Template:
        inside = here.at(f".{head}")
        found = _HEAD.fullmatch(head.strip()) if isinstance(head, str) else None
        if found is None:
            self._refuse(inside, HEAD_RULE, shown=False)
        name, listed = found[1], found[2]
        if name in LAYER_KINDS or name == WHEN:
            self._refuse(inside, f"{name} is a layer's name", shown=False)
        if name in self._templates:
            self._refuse(inside, f"{name} occurs twice", shown=False)
        if not isinstance(body, list) or not body:
            self._refuse(inside, "must be a list of layers", body)
        parameters: dict[str, str | None] = {}
        for text in _parts(listed or ""):
            one = _PARAMETER.fullmatch(text)
            if one is None or (one[2] is not None and not one[2].strip()):
                rule = "a parameter is a name, or a name with a default, s=1"
                self._refuse(inside, rule, text)
            if one[1] in parameters:
                self._refuse(inside, "parameters must be of different names", one[1])
            if one[2] is None and any(each is not None for each in parameters.values()):
                rule = "parameters without a default come before those that have one"
                self._refuse(inside, rule, one[1])
            parameters[one[1]] = None if one[2] is None else one[2].strip()
        return Template(name, parameters, body)

    def _deep(self, written: Any, here: _Here) -> Any:
        """Expand a value recursively."""
        self._step(here)
        if isinstance(written, str):
            return self._value(written, here)
        if isinstance(written, list):
            return [self._deep(each, here.at(f"[{i}]")) for i, each in enumerate(written)]
        if isinstance(written, dict):
            return {key: self._deep(each, here.at(f".{key}")) for key, each in written.items()}
        return written

    def _value(self, text: str, here: _Here) -> Any:
        if "$" not in text:
            return text
        try:
            return substitute(text, here.scope)
        except ExpressionError as error:
            self._refuse_expression(here, error)

    def _step(self, here: _Here) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS:
            rule = f"written out, a network has at most {MOST_STEPS:,} values"
            self._refuse(here, rule, shown=False)

    def _refuse_expression(self, here: _Here, error: ExpressionError) -> NoReturn:
        place = f"{self._source}: {here.text()}"
        raise ConfigError(place, error.rule, error.got) from error

    def _refuse(self, here: _Here, rule: str, got: Any = None, *, shown: bool = True) -> NoReturn:
        place = f"{self._source}: {here.text()}"
        raise ConfigError(place, rule, show(got) if shown else None)


_NOTHING = object()


def _parts(listed: str) -> list[str]:
    """Split at commas outside parentheses."""
    parts, depth = [""], 0
    for char in listed:
        depth += (char in "([") - (char in ")]")
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts] if listed.strip() else []
