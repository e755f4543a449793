"""The built-in networks, each a config in the folder `networks`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cnn_cli.config.show import show
from cnn_cli.errors import ConfigError, suggest

FOLDER = Path(__file__).parent.parent / "networks"


@cache
def network_names() -> tuple[str, ...]:
    """Return the names of all networks, sorted, numbers by value."""
    names = (path.stem for path in FOLDER.glob("*.yaml"))
    return tuple(sorted(names, key=lambda name: [*map(_key, re.findall(r"\d+|\D+", name))]))


def network_text(name: str) -> str:
    """Return the config of a network as text; `name` is from `network_names`."""
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def find_network(name: str) -> str | None:
    """Return the network of that name in any spelling: `mobilenet_v2`, `MobileNetV2`; or None."""
    return next((known for known in network_names() if _bare(known) == _bare(name)), None)


def named_network(written: Any, place: str) -> tuple[str, dict[str, Any]]:
    """Return the file that defines a network, and its section `model`.

    Args:
        written: `resnet50`, or `{name: resnet50, width: 0.5}`; arguments are values of the
            network's `define`.
        place: its place in the config, for messages.

    Raises:
        ConfigError: there is no such network, or it has no such argument.
    """
    arguments = {"name": written} if isinstance(written, str) else written
    if not isinstance(arguments, dict) or not isinstance(arguments.get("name"), str):
        raise ConfigError(place, "must be a name, or a mapping with name", show(written))
    name = find_network(arguments["name"])
    if name is None:
        near = suggest(arguments["name"], network_names())
        rule = f"no such network; cnn networks lists them.{near}"
        raise ConfigError(place, rule, show(arguments["name"]))
    model = dict(_read(name))
    given = {key: value for key, value in arguments.items() if key != "name"}
    if "network" in model:  # defined as another network with other values
        inner = model.pop("network")
        file, base = named_network(inner | given, place)
        return file, base | model
    values = _arguments(model)
    for key, value in given.items():
        inside = f"{place}.{key}"
        if key not in values:
            rule = f"{name} takes {', '.join(values)}.{suggest(str(key), values)}"
            raise ConfigError(inside, rule, show(key))
        if isinstance(value, list | dict | None):
            raise ConfigError(inside, "must be a number or a word", show(value))
        if isinstance(values[key], bool) and not isinstance(value, bool):
            raise ConfigError(inside, "must be true or false", show(value))
        if type(values[key]) in (int, float) and not (type(value) in (int, float) and value >= 0):
            raise ConfigError(inside, "must be a number, 0 or more", show(value))
        if key == "width" and not value > 0:
            raise ConfigError(inside, "must be a number above 0", show(value))
    return name, model | {"define": model["define"] | given}


def arguments_of(name: str) -> dict[str, Any]:
    """Return the arguments of a network, with their defaults."""
    return _arguments(named_network(name, name)[1])


def _read(name: str) -> Mapping[str, Any]:
    from cnn_cli.config.yaml12 import parse_yaml

    model: Mapping[str, Any] = parse_yaml(network_text(name), f"{name}.yaml")["model"]
    return model


def _arguments(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a network's `define` that are not computed from others."""
    return {
        key: value
        for key, value in model["define"].items()
        if not isinstance(value, list) and "$" not in str(value)
    }


def _bare(name: str) -> str:
    return re.sub(r"[-_]", "", name.lower())


def _key(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdigit() else (0, part)
