"""Files of names for `cnn import`: class names (`--classes`), and layers by layer (`--map`)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from cnn_cli import strict_json
from cnn_cli.errors import DataError
from cnn_cli.interop.limits import MOST_TEXT
from cnn_cli.text_files import read_text


def read_classes(path: Path) -> list[str]:
    """Read names from lines, a JSON list, or a JSON mapping of numbers to names (or to lists, whose
    last item is used, as in Keras' imagenet_class_index.json).

    Raises:
        DataError: it is none of these, or two names are equal.
    """
    text = read_text(path, MOST_TEXT)
    if text.lstrip()[:1] in ("[", "{"):
        try:
            found = strict_json.loads(text)
        except ValueError as error:
            raise DataError(path, "must be JSON, or have a name a line") from error
        if isinstance(found, dict):
            if sorted(found) != sorted(map(str, range(len(found)))):
                raise DataError(path, "must have the keys 0, 1, 2 and so on")
            found = [found[str(i)] for i in range(len(found))]
        names = [name[-1] if isinstance(name, list) and name else name for name in found]
    else:
        names = [line.strip() for line in text.split("\n") if line.strip()]
    if len(names) < 2 or not all(isinstance(name, str) and name for name in names):
        raise DataError(path, "must hold two or more class names")
    return names


def told_apart(names: list[str]) -> list[str]:
    """Number equal names, such as ImageNet's two cranes."""
    twice = {name for name, count in Counter(names).items() if count > 1}
    return [f"{name} ({i})" if name in twice else name for i, name in enumerate(names)]


def read_map(path: Path) -> dict[str, str]:
    """Read a YAML mapping of the network's layers to the file's.

    Raises:
        DataError: it cannot be read, or is no such mapping.
    """
    from cnn_cli.config.yaml12 import parse_yaml

    found = parse_yaml(read_text(path, MOST_TEXT), str(path))
    if not isinstance(found, dict) or not all(
        isinstance(key, str) and isinstance(value, str) for key, value in found.items()
    ):
        raise DataError(path, "must be a mapping of the network's layers to the file's")
    return found
