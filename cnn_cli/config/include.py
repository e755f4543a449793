"""`include: base.yaml`: merge a config into another one, key by key."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnn_cli.config.messages import CHOICES
from cnn_cli.config.paths import absolute_paths
from cnn_cli.config.show import show
from cnn_cli.errors import ConfigError
from cnn_cli.text_files import read_text

INCLUDE = "include"
MAX_BYTES = 1_000_000
MOST_FILES = 20

Document = dict[Any, Any]


def read_document(path: Path) -> tuple[Document, list[tuple[str, Document]]]:
    """Read a config and the files that it includes.

    Returns:
        The merged document with absolute paths (each file's paths are relative to its own folder),
        and the files that it is made of, including files first.

    Raises:
        ConfigError: a file cannot be read, is not a config, or includes itself.
    """
    files: list[tuple[str, Document]] = []
    seen: list[Path] = []
    here: Path | None = path
    place = ""
    while here is not None:
        seen.append(_real(here))
        document = _read(here, place)
        files.append((str(here), document))
        absolute_paths(document, seen[-1].parent)
        place = f"{here}: {INCLUDE}"
        here = _included(document, here, place)
        if here is not None and _real(here) in seen:
            first = seen.index(_real(here))
            chain = " > ".join([*(file for file, _ in files[first:]), str(here)])
            raise ConfigError(place, "a config must not include itself", chain)
        if here is not None and len(files) == MOST_FILES:
            raise ConfigError(place, f"at most {MOST_FILES} files include each other")
    whole: Document = {}
    for _, document in reversed(files):
        whole = _merge(whole, document, ())
    return whole, files


def file_of(place: str, files: Sequence[tuple[str, Document]]) -> str:
    """Return the first file that contains most of a place such as `model.layers[3].conv`."""
    steps = re.findall(r"[^.\[\]]+", place)

    def known(document: Any) -> int:
        for i, step in enumerate(steps):
            if isinstance(document, dict) and step in document:
                document = document[step]
            elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
                document = document[int(step)]
            else:
                return i
        return len(steps)

    return max(files, key=lambda file: known(file[1]))[0]


def _real(path: Path) -> Path:
    """Return the path without links; `Path.resolve` fails if they form a loop."""
    return Path(os.path.realpath(path))


def _included(document: Document, path: Path, place: str) -> Path | None:
    name = document.pop(INCLUDE, None)
    if name is None:
        return None
    if not isinstance(name, str) or not name or "\0" in name:
        raise ConfigError(place, "must be a file's name", show(name))
    return path.parent / name


def _read(path: Path, place: str) -> Document:
    from cnn_cli.config.yaml12 import parse_yaml  # not needed to read a checkpoint's config

    source = str(path)
    try:
        text = read_text(path, MAX_BYTES, ConfigError)
    except ConfigError as error:
        if not place:
            raise _absent(path) or error from error
        raise ConfigError(f"{place}: {error.place}", error.rule, error.got) from error
    document = parse_yaml(text, source)
    if not isinstance(document, dict):
        raise ConfigError(source, "must be a mapping of keys to values", show(document))
    return document


def _absent(path: Path) -> ConfigError | None:
    """Return a better error for a missing config, if something else was probably meant."""
    from cnn_cli.config.networks import find_network

    if path.exists():
        return None
    got = "no such file or directory"
    if "=" in path.name:
        return ConfigError(
            path, "needs a config file before it, as in cnn train CONFIG KEY=VALUE", got
        )
    if (name := find_network(path.stem)) is not None:
        rule = f"cannot be read; `cnn networks {name} > {name}.yaml` writes such a config"
        return ConfigError(path, rule, got)
    return None


def _merge(base: Any, over: Any, path: tuple[str, ...]) -> Any:
    """Merge `over` into `base`: mappings key by key; anything else replaces the old value."""
    key = path[-1] if path else ""
    word = "type" if key in CHOICES else "name" if path == ("model", "network") else ""
    if word:
        base = {word: base} if isinstance(base, str) else base
        over = {word: over} if isinstance(over, str) else over
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    if path == ("model",):
        base = {key: value for key, value in base.items() if not _is_replaced(key, over)}
    if key in CHOICES and over.get("type", base.get("type")) != base.get("type"):
        model = CHOICES[key].get(str(over["type"]))
        known = () if model is None else model.model_fields
        base = {key: value for key, value in base.items() if key in known}
    if word == "name" and over.get("name", base.get("name")) != base.get("name"):
        return over  # another network has its own arguments
    inner = {
        key: _merge(base[key], value, (*path, str(key))) if key in base else value
        for key, value in over.items()
    }
    return base | inner


def _is_replaced(key: Any, model: Document) -> bool:
    """Whether a section `model` replaces what is under a key by another network."""
    if model.get("network") is not None:
        return key in ("layers", "define") and key not in model
    return key == "network" and model.get("layers") is not None
