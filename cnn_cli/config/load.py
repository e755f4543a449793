"""From a file and the command line to a `Config`."""

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
from cnn_cli.config.models import Config
from cnn_cli.config.paths import absolute_paths
from cnn_cli.config.places import Places
from cnn_cli.config.show import show
from cnn_cli.config.templates import write_out
from cnn_cli.data.augment import TECHNIQUES
from cnn_cli.errors import ConfigError, UsageError


def load_config(
    path: str | Path, overrides: Sequence[str] = (), options: Mapping[str, Any] | None = None
) -> Config:
    """Read a config file and lay the command line over it.

    Args:
        path: the YAML file. Paths in it are relative to its own folder.
        overrides: ``KEY=VALUE`` with dotted keys, values as YAML. Paths among them are relative to
            the current folder.
        options: values by dotted key that win over all; None is no value.

    Raises:
        ConfigError: what is wrong, in one line.
        UsageError: an override without ``=``.
    """
    return ConfigFile.read(path).config(overrides, options)


@dataclass(frozen=True, slots=True, eq=False)
class ConfigFile:
    """A config file that was read, once, as it may be a pipe; for any number of configs.

    Attributes:
        source: its path, for messages.
        document: with what it includes.
        files: what each of the files says that it is made of.
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
        """Lay a command line over it; arguments and errors as in `load_config`."""
        return lay_over(deepcopy(self.document), self.source, overrides, options, self.files)


def lay_over(
    document: dict[Any, Any],
    source: str,
    overrides: Sequence[str],
    options: Mapping[str, Any] | None = None,
    files: Sequence[tuple[str, dict[Any, Any]]] | None = None,
) -> Config:
    """Lay the command line over a document of plain values, which is changed, and check it.

    Args:
        document, source: as those of `validate_config`.
        overrides, options: as those of `load_config`.
        files: which of several files each part is of, for messages.

    Raises:
        ConfigError, UsageError: as `load_config`.
    """
    from cnn_cli.config.yaml12 import parse_yaml  # a checkpoint's config is read without it

    later = []
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise UsageError(override, "an override is written KEY=VALUE, such as train.epochs=3")
        value = parse_yaml(text, key)
        if key.startswith("model.layers."):  # counted as they are written out
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
        ConfigError: the first thing that is wrong.
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
    """The whole config, defaults filled in, as values that JSON and YAML hold."""
    return config.model_dump(mode="json")


def config_text(config: Config) -> str:
    """The whole config as a YAML file that `load_config` reads back."""
    from cnn_cli.config.yaml12 import dump_yaml

    return dump_yaml(plain_config(config))


def _set(document: dict[Any, Any], dotted: str, value: Any, override: str) -> None:
    """Put `value` at a dotted key, making the mappings on the way."""
    keys = dotted.split(".")
    here: Any = document
    for i, key in enumerate(keys[:-1]):
        child = _child(here, key, keys[: i + 1], override)
        if isinstance(child, str) and child in LAYER_KINDS and keys[i + 1] == child:
            child = {child: {}}  # `relu` alone, about to be given arguments
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
    """What a layer's or a technique's lone value, about to be given others, stands for."""
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
    """After another choice of a `type`, or another network, forget what was the old one's."""
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
    """`data.root`, which training cannot do without."""
    if config.data.root is None:
        raise ConfigError(place(source, ["data", "root"]), "is required, here or as --data DIR")
    return config.data.root
