"""Load a `Config` from a file and the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cnn_cli.config.include import file_of, read_document
from cnn_cli.config.layers import LAYER_KINDS
from cnn_cli.config.messages import CHOICES, config_error, place
from cnn_cli.config.paths import absolute_paths
from cnn_cli.config.places import Places
from cnn_cli.config.show import show
from cnn_cli.config.templates import write_out
from cnn_cli.config.whole import Config
from cnn_cli.data.augment import TECHNIQUES
from cnn_cli.errors import ConfigError, no_override


def load_config(
    path: str | Path, overrides: Sequence[str] = (), options: Mapping[str, Any] | None = None
) -> Config:
    """Read a config file and apply the command line's overrides.

    Args:
        path: the YAML file. Paths in it are relative to its own folder.
        overrides: ``KEY=VALUE`` with dotted keys, values as YAML. Their paths are relative to the
            current folder.
        options: values by dotted key that override everything; None is ignored.

    Raises:
        ConfigError: what is wrong, in one line.
        UsageError: an override without ``=``.
    """
    return ConfigFile.read(path).config(overrides, options)


@dataclass(frozen=True, slots=True, eq=False)
class ConfigFile:
    """A config file that was read once (it may be a pipe), for any number of configs.

    Attributes:
        source: its path, for messages.
        document: its content, merged with what it includes.
        files: the content of each file it is made of.
    """

    source: str
    document: dict[Any, Any]
    files: list[tuple[str, dict[Any, Any]]]

    @classmethod
    def read(cls, path: str | Path) -> ConfigFile:
        return cls(str(path), *read_document(Path(path)))

    def config(
        self, overrides: Sequence[str] = (), options: Mapping[str, Any] | None = None
    ) -> Config:
        """Apply a command line; arguments and errors as in `load_config`."""
        return lay_over(deepcopy(self.document), self.source, overrides, options, self.files)


def lay_over(
    document: dict[Any, Any],
    source: str,
    overrides: Sequence[str],
    options: Mapping[str, Any] | None = None,
    files: Sequence[tuple[str, dict[Any, Any]]] | None = None,
) -> Config:
    """Apply the command line to a document of plain values, which is modified, and check it.

    Args:
        document, source: as in `validate_config`.
        overrides, options: as in `load_config`.
        files: the files that the document is made of, for messages.

    Raises:
        ConfigError, UsageError: as `load_config`.
    """
    from cnn_cli.config.yaml12 import parse_yaml  # not needed to read a checkpoint's config

    changes = []
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise no_override(override)
        changes.append((key, parse_yaml(text, key), override))
    _refuse_two_choices(changes)
    later = []
    for key, value, override in sorted(changes, key=lambda change: _depth(change[0])):
        if key.startswith("model.layers."):  # positions refer to the expanded layers
            later.append((key, value, override))
        else:
            _set(document, key, value, override)
    for key, value in (options or {}).items():
        if value is not None:
            _set(document, key, value, key)
    absolute_paths(document, Path.cwd())
    if later and isinstance(document.get("model"), dict):
        document["model"], _ = write_out(document["model"], source, keep_define=True)
    for key, value, override in later:
        _set(document, key, value, override)
    try:
        return validate_config(document, source)
    except ConfigError as error:
        found, inside = error.place.removeprefix(f"{source}: "), [*overrides, *(options or ())]
        known = any(found.startswith(key.split("=")[0]) for key in inside)
        if files is None or found == error.place or known:
            raise
        place = f"{file_of(found, files)}: {found}"
        raise ConfigError(place, error.rule, error.got) from error


def validate_config(document: Any, source: str) -> Config:
    """Check a document of plain values; `source` names it in errors.

    Raises:
        ConfigError: the first error found.
    """
    if not isinstance(document, dict):
        raise ConfigError(source, "must be a mapping of keys to values", show(document))
    places = Places()
    try:
        if isinstance(document.get("model"), dict):
            model, places = write_out(document["model"], source)
            document = document | {"model": model}
        config = Config.model_validate(document)
    except ValidationError as error:
        first = config_error(error, source)
        prefix = f"{source}: "
        if first.place.startswith(prefix):
            place = prefix + places.written(first.place.removeprefix(prefix))
            raise ConfigError(place, first.rule, first.got) from error
        raise first from error
    except RecursionError as error:
        raise ConfigError(source, "is nested too deeply") from error
    config.model.stand_at(places)
    return config


def plain_config(config: Config) -> dict[str, Any]:
    """Return the whole config with defaults, as values for JSON and YAML."""
    return config.model_dump(mode="json")


def config_text(config: Config) -> str:
    """Return the whole config as a YAML file that `load_config` reads."""
    from cnn_cli.config.yaml12 import dump_yaml

    return dump_yaml(plain_config(config))


def _depth(dotted: str) -> tuple[int, bool]:
    """Sort key: a section before what is in it, and its `type` first, so that in any order on the
    command line no override undoes another one.
    """
    keys = dotted.split(".")
    return len(keys), keys[-1] not in ("type", "name")


def _refuse_two_choices(changes: list[tuple[str, Any, str]]) -> None:
    """Refuse two overrides of which each chooses the network, or the kind of a section."""
    same = [("model.network", "model.layers"), ("model.network", "model.network.name")]
    same += [(f"train.{section}", f"train.{section}.type") for section in CHOICES]
    keys = [key for key, _, _ in changes]
    for pair in same:
        if set(pair) <= set(keys):
            first, second = sorted(pair, key=keys.index)
            raise ConfigError(changes[keys.index(second)][2], f"cannot be combined with {first}")


def _set(document: dict[Any, Any], dotted: str, value: Any, override: str) -> None:
    """Set `value` at a dotted key, creating mappings on the way."""
    keys = dotted.split(".")
    here: Any = document
    for i, key in enumerate(keys[:-1]):
        child = _child(here, key, keys[: i + 1], override)
        if isinstance(child, str) and child in LAYER_KINDS and keys[i + 1] == child:
            child = {child: {}}  # `relu` alone, which now gets arguments
        elif isinstance(child, str) and key in CHOICES:
            child = {"type": child}
        elif isinstance(child, str) and keys[: i + 1] == ["model", "network"]:
            child = {"name": child}
        elif not isinstance(child, dict | list):
            child = _arguments(key, child)
        _put(here, key, child)
        here = child
    _child(here, keys[-1], keys, override)
    _put(here, keys[-1], value)
    _drop_foreign_keys(document, keys)


def _arguments(key: str, lone: Any) -> dict[str, Any]:
    """Convert the single value of a layer or technique to a mapping that further arguments can
    join.
    """
    if lone is None or isinstance(lone, bool):
        return {}
    if key in TECHNIQUES:
        return TECHNIQUES[key].from_lone(lone)
    first = LAYER_KINDS[key].first_argument() if key in LAYER_KINDS else None
    return {first: lone} if first else {}


def _child(here: Any, key: str, path: list[str], override: str) -> Any:
    if isinstance(here, list):
        if not key.isdecimal() or int(key) >= len(here):
            rule = f"{'.'.join(path[:-1])} is a list of {len(here)}, counted from 0"
            raise ConfigError(override, rule, show(key))
        return here[int(key)]
    return here.get(key)


def _put(here: Any, key: str, value: Any) -> None:
    here[int(key) if isinstance(here, list) else key] = value


def _drop_foreign_keys(document: dict[Any, Any], keys: list[str]) -> None:
    """After another `type` or network is chosen, remove the keys of the old one."""
    for section, kinds in CHOICES.items():
        if keys == ["train", section, "type"]:
            chosen = document["train"][section]
            model = kinds.get(str(chosen["type"]))
            if model is not None:
                for key in [key for key in chosen if key not in model.model_fields]:
                    del chosen[key]
    for key, others in (("network", ("layers", "define")), ("layers", ("network",))):
        if keys == ["model", key]:
            for other in others:
                document["model"].pop(other, None)


def required_root(config: Config, source: str) -> str:
    """Return `data.root`, which training requires.

    Raises:
        ConfigError: there is none.
    """
    if config.data.root is None:
        raise ConfigError(place(source, ["data", "root"]), "is required, here or as --data DIR")
    return config.data.root
