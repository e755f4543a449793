"""Convert pydantic's errors to one-line messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from cnn_cli.config.layers import LAYER_KINDS
from cnn_cli.config.show import show
from cnn_cli.config.whole import Config
from cnn_cli.data.augment import TECHNIQUES
from cnn_cli.errors import ConfigError, listed, suggest
from cnn_cli.nn.losses import LOSSES
from cnn_cli.optim.optimizers import OPTIMIZERS, OTHER_OPTIMIZERS
from cnn_cli.optim.schedule import SCHEDULERS
from cnn_cli.peer_names import layer_hint, peer_hint
from cnn_cli.schema.fields import RULE

Location = Sequence[str | int]
MOST_STEPS = 2  # in a key that may be another program's: `patience`, `train.lr`

# Keys whose mapping has a `type` that selects the model.
CHOICES: Mapping[str, Mapping[str, type[BaseModel]]] = {
    "optimizer": OPTIMIZERS,
    "other": OTHER_OPTIMIZERS,
    "scheduler": SCHEDULERS,
    "loss": LOSSES,
}

# The models among which a word chooses, by the key below which the word is written.
_MODELS: Mapping[str, Mapping[str, type[BaseModel]]] = {
    "layers": LAYER_KINDS,
    "augment": TECHNIQUES,
    **CHOICES,
}

_TYPES: dict[str, str] = {
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "too_short": "must not be empty",
}


def config_error(error: ValidationError, source: str) -> ConfigError:
    """Return the first of pydantic's errors; `source` is the file's name.

    An unknown key comes before a missing one, because it is often the same key misspelled.
    """
    found = error.errors(include_url=False)
    first = min(found, key=lambda each: each["type"] != "extra_forbidden")
    location, value = first["loc"], first["input"]
    kind = first["type"]
    if kind == "extra_forbidden":
        key = str(location[-1])
        near = suggest(key, _known_keys(location[:-1]))
        if len(location) <= MOST_STEPS:
            near = peer_hint(".".join(map(str, location))) or near or in_a_section(key)
        return ConfigError(place(source, location), f"unknown key.{near}")
    if kind == "invalid_key":
        return ConfigError(place(source, location[:-1]), "keys must be words", show(location[-1]))
    if location and location[-1] == "[key]":  # and before it the key itself
        return ConfigError(place(source, location[:-2]), "keys must be words", show(value))
    if kind == "missing":
        return ConfigError(place(source, location), "is required")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _unknown_choice(source, location, value)
    if kind == RULE:
        rule = first["ctx"]["rule"]
    else:
        rule = _TYPES.get(kind, first["msg"][:1].lower() + first["msg"][1:])
    # The value for a rule across keys is the whole section, which would not help.
    is_section = isinstance(value, dict | BaseModel) and not _is_leaf(location)
    got = None if kind == RULE and is_section else show(value)
    return ConfigError(place(source, location), rule, got)


def _is_leaf(location: Location) -> bool:
    """Whether a place is that of a single value, not of a section or layer."""
    steps = [step for step in location if isinstance(step, str)]
    last = steps[-1] if steps else ""
    sections = {*Config.model_fields, *CHOICES, "progressive_resizing"}.union(*_MODELS.values())
    return bool(steps) and last not in sections


def _unknown_choice(source: str, location: Location, value: Any) -> ConfigError:
    """The error for an unknown layer, optimizer or schedule."""
    tail = location[-1] if location else ""
    choices = CHOICES.get(str(tail))
    if choices is not None:
        if not isinstance(value, dict):
            return ConfigError(place(source, location), "must be a mapping of keys", show(value))
        word = value.get("type")
        rule = f"must be one of {', '.join(choices)}.{suggest(str(word), choices)}"
        return ConfigError(place(source, [*location, "type"]), rule, show(word))
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value))
    if not isinstance(value, str):
        rule = "a layer is a name, or one name with its arguments"
        several = isinstance(value, dict) and len(value) > 1
        got = f"the keys {listed([str(key) for key in value])}" if several else show(value)
        return ConfigError(place(source, location), rule, got)
    rule = f"no such layer.{layer_hint(value) or suggest(value, LAYER_KINDS)}"
    return ConfigError(place(source, location), rule, show(value))


def in_a_section(key: str) -> str:
    """Return a hint for a key that was given without its section: `epochs`."""
    sections = [name for name in Config.model_fields if key in _known_keys([name])]
    return f" Did you mean '{sections[0]}.{key}'?" if sections else ""


def _known_keys(location: Location) -> list[str]:
    """Return the keys allowed at a place, by walking the models along it."""
    model: type[BaseModel] = Config
    for step in location:
        if isinstance(step, int):
            continue
        inside = (models for key, models in _MODELS.items() if key in location)
        chosen = next((models[step] for models in inside if step in models), None)
        if chosen is not None:
            model = chosen
        elif step in model.model_fields:
            annotation = model.model_fields[step].annotation
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                model = annotation
    return list(model.model_fields)


def place(source: str, location: Location) -> str:
    """Return `configs/a.yaml: model.layers[3].conv.stride`, as a person would write it."""
    path = ""
    steps = list(location)
    for i, step in enumerate(steps):
        if isinstance(step, int):
            path += f"[{step}]"
        elif i and steps[i - 1] in CHOICES and step != "type":
            continue  # pydantic inserts the chosen type here, which is not a key
        elif i and step == steps[i - 1] == "branches":
            continue  # a layer and its only argument share the word
        else:
            path += f".{step}" if path else step
    return f"{source}: {path}" if path else source
