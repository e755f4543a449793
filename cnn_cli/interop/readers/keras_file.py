"""Keras files: `.keras` archives, `.h5`, and `model.json` with its shards, as for TensorFlow.js.

All contain the structure, which `keras_layers` reads.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from cnn_cli import strict_json
from cnn_cli.errors import DataError, missing_extra, reason
from cnn_cli.interop.foreign import INPUT, Foreign
from cnn_cli.interop.limits import MOST_TEXT, Budget, not_read
from cnn_cli.interop.readers.keras_layers import KerasLayers, Stored, nested_layers
from cnn_cli.interop.simplify import simplified
from cnn_cli.nn.types import Array, Shape
from cnn_cli.text_files import read_text

# Groups of layers written by `Model.save` and `save_weights` of Keras 3, or of 2.13 and later.
GROUPS = ("layers", "_layer_checkpoint_dependencies")


def read_model_json(path: Path, in_shape: Shape | None = None) -> Foreign:
    """Read a Keras network in TensorFlow.js's format.

    Args:
        path: the file.
        in_shape: (rows, columns, channels) of an image, if the network does not give them.

    Raises:
        DataError: it or a shard is missing or damaged, or a layer is unknown.
    """
    budget = Budget(path)
    document = _json(path)
    topology = document.get("modelTopology")
    if "config" in document and topology is None:
        rule = "must be TensorFlow.js's; of another network, give the file of its weights"
        raise DataError(path, rule, "a network without weights")
    if not isinstance(topology, dict) or "weightsManifest" not in document:
        raise DataError(path, "must be a Keras network: modelTopology and weightsManifest")
    arrays: dict[str, dict[str, Array]] = {}
    try:
        for group in document["weightsManifest"]:
            content = b"".join(_shard(name, budget) for name in group["paths"])
            for name, array in _split(content, group["weights"], budget).items():
                layer, _, weight = name.rpartition("/")
                arrays.setdefault(layer.split("/")[0], {})[weight] = array
    except OSError as error:
        raise DataError(error.filename or path, "cannot be read", reason(error)) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(path, "must have a sound weightsManifest", reason(error)) from error
    network = topology.get("model_config", topology)
    version = topology.get("keras_version")
    return _foreign(path, network, lambda names: arrays.get(names[-1], {}), version, in_shape)


def read_h5(path: Path, in_shape: Shape | None = None) -> Foreign:
    """Read a network that Keras saved as HDF5, or weights with their network in a file beside them.

    Args:
        path: the file.
        in_shape: (rows, columns, channels) of an image, if the network does not give them.

    Raises:
        DataError: it is damaged, contains weights without their network, or a layer is unknown.
        UsageError: h5py is not installed.
    """
    h5py = _h5py(path)
    budget = Budget(path)
    with _sound(path), h5py.File(path, "r") as file:
        version = None
        if "keras_version" in file.attrs:
            version = _text(_attribute(file, "keras_version", budget))
        if "model_config" in file.attrs:
            document = _document(_attribute(file, "model_config", budget), path)
            stored = _by_name(_member(file, "model_weights", path), budget)
        elif "layer_names" in file.attrs or any(key in file for key in GROUPS):
            document = _json(_network_beside(path, budget))
            version = version or document.get("keras_version")
            if "layer_names" in file.attrs:
                stored = _by_name(file, budget)
            else:
                stored = _by_number(file, document["config"], budget)
        else:
            raise _alone(path)
    return _foreign(path, document, stored, version, in_shape)


def read_keras(path: Path, in_shape: Shape | None = None) -> Foreign:
    """Read the archive format of Keras 3.

    Args:
        path: the file.
        in_shape: (rows, columns, channels) of an image, if the network does not give them.

    Raises:
        DataError: it is damaged, or a layer is unknown.
        UsageError: h5py is not installed.
    """
    h5py = _h5py(path)
    budget = Budget(path)
    with _sound(path):
        with ZipFile(path) as archive:
            document = _document(_entry(archive, "config.json", budget), path)
            metadata = _document(_entry(archive, "metadata.json", budget), path)
            content = _entry(archive, "model.weights.h5", budget)
        with h5py.File(BytesIO(content), "r") as file:
            stored = _by_number(file, document["config"], budget)
    return _foreign(path, document, stored, metadata.get("keras_version"), in_shape)


def _h5py(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise missing_extra(path, "h5py", "pretrained") from error
    return h5py


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """Convert exceptions within the context to errors about the file."""
    faults = (OSError, KeyError, ValueError, TypeError, AttributeError, NotImplementedError)
    try:
        yield
    except RecursionError:
        raise
    except (*faults, RuntimeError, BadZipFile) as error:
        raise DataError(path, "must be a sound file of Keras", reason(error)) from error


def _entry(archive: ZipFile, name: str, budget: Budget) -> bytes:
    """Read a file in an archive, after checking its size against the archive's."""
    info = archive.getinfo(name)
    if name.endswith(".json") and info.file_size > MOST_TEXT:
        raise ValueError(f"{name} of {info.file_size:,} bytes")
    budget.take(info.file_size)
    return archive.read(info)


def _document(content: Any, path: Path) -> dict[str, Any]:
    try:
        found = strict_json.loads(_text(content))
    except ValueError as error:
        raise DataError(path, "must describe its network in JSON") from error
    if not isinstance(found, dict):
        raise DataError(path, "must describe its network in JSON")
    return found


def _network_beside(path: Path, budget: Budget) -> Path:
    """Return the network for a file of weights: the JSON file of the same name, or `config.json`.

    Raises:
        DataError: there is none.
    """
    stem = path.name.removesuffix(path.suffix).removesuffix(".weights")
    for name in (f"{stem}.json", "config.json"):
        if path.with_name(name).is_file():
            return budget.file_beside(name)
    raise _alone(path)


def _alone(path: Path) -> DataError:
    rule = (
        "must hold the network as well as its weights, as model.save writes, or have it in a "
        "config.json beside"
    )
    return DataError(path, rule, "weights alone")


def _by_name(group: Any, budget: Budget) -> Stored:
    """Read arrays grouped by layer name, and named in the group."""
    found: dict[tuple[str, str], dict[str, Array]] = {}
    for layer in group:
        own = _member(group, layer, budget.path)
        if "weight_names" not in own.attrs:
            continue
        for name in map(_text, _attribute(own, "weight_names", budget)):
            *above, last = name.removesuffix(":0").split("/")
            arrays = found.setdefault((str(layer), above[-1] if above else ""), {})
            if last in arrays:
                raise ValueError(f"two arrays of the name {name} in {layer}")
            arrays[last] = _dataset(own, name, budget)

    def stored(names: tuple[str, ...]) -> Mapping[str, Array]:
        if len(names) > 1:  # in a nested network
            return found.get((names[0], names[-1]), {})
        return {
            key: array
            for (layer, _), arrays in found.items()
            if layer == names[0]
            for key, array in arrays.items()
        }

    return stored


def _by_number(file: Any, config: Any, budget: Budget) -> Stored:
    """Read numbered arrays, grouped by numbered layer kinds."""
    found: dict[tuple[str, ...], dict[str, Array]] = {}

    def walk(group: Any, config: Any, outer: tuple[str, ...]) -> None:
        key = next((key for key in GROUPS if key in group), None)
        if key is None:
            return
        members = _member(group, key, budget.path)
        names = {}  # only in newer files
        for each in members:
            own = _member(members, each, budget.path)
            if "vars" in own and "name" in own["vars"].attrs:
                names[_text(_attribute(own["vars"], "name", budget))] = each
        counts: Counter[str] = Counter()
        for layer in nested_layers(config):
            if str(layer.get("module")).startswith("keras.src.ops"):
                continue  # not a layer, and without arrays
            name = str(layer.get("name") or layer["config"]["name"])
            word = _snake_case(str(layer["class_name"]).rpartition(">")[2])
            each = f"{word}_{counts[word]}" if counts[word] else word
            counts[word] += 1
            each = names.get(name, "") if names else each
            if each not in members:
                continue
            own = _member(members, each, budget.path)
            if "vars" in own:
                variables = _member(own, "vars", budget.path)
                arrays = {str(i): _dataset(variables, str(i), budget) for i in variables}
                found[(*outer, name)] = arrays
            if isinstance(layer["config"], dict) and "layers" in layer["config"]:
                walk(own, layer["config"], (*outer, name))

    walk(file, config, ())
    return lambda names: found.get(names, {})


def _snake_case(word: str) -> str:
    """Return a layer's kind as in Keras' files: `conv2d` for `Conv2D`."""
    word = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", word))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", word).lower()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _json(path: Path) -> dict[str, Any]:
    try:
        document = strict_json.loads(read_text(path, MOST_TEXT))
    except ValueError as error:
        raise DataError(path, "must be a JSON document") from error
    if not isinstance(document, dict):
        raise DataError(path, "must be a mapping")
    return document


def _attribute(of: Any, name: str, budget: Budget) -> Any:
    """Read an attribute of an HDF5 group or file."""
    stored = of.attrs.get_id(name)
    if 0 not in stored.shape:  # HDF5 does not report its size
        budget.take(stored.get_storage_size())
    return of.attrs[name]


def _member(group: Any, name: str, path: Path) -> Any:
    """Return a member of an HDF5 group by name, or by names joined by `/`.

    Raises:
        DataError: it is a link, within this file or to another one.
        KeyError: there is none.
    """
    from h5py import HardLink

    found = group
    for part in name.split("/"):
        link = found.get(part, getlink=True)
        if link is None:
            raise KeyError(f"no {name} in {group.name}")
        if not isinstance(link, HardLink):
            raise DataError(path, "must hold its arrays itself", f"a link, {name}")
        found = found[part]
    return found


def _dataset(group: Any, name: str, budget: Budget) -> Array:
    """Read an HDF5 array, after checking its size against the file's.

    Raises:
        DataError: it is too large, or stored in another file.
    """
    found = _member(group, name, budget.path)
    if found.is_virtual or found.external:
        raise DataError(budget.path, "must hold its arrays itself", f"numbers elsewhere, of {name}")
    if found.dtype.kind not in "fiu" or found.dtype.shape:
        raise not_read(budget.path, name, found.dtype)
    # A chunk is unpacked completely, even if the array uses a small part.
    for shape in (found.shape, found.chunks or ()):
        budget.take_array(shape, found.dtype.itemsize)
    return np.array(found)


def _shard(name: str, budget: Budget) -> bytes:
    shard = budget.file_beside(name)
    budget.take(shard.stat().st_size)
    return shard.read_bytes()


def _split(content: bytes, weights: list[dict[str, Any]], budget: Budget) -> dict[str, Array]:
    """Split a group's shards into its consecutive arrays."""
    arrays = {}
    start = 0
    for weight in weights:
        stored = weight.get("quantization")
        dtype = np.dtype(stored["dtype"] if stored else weight["dtype"]).newbyteorder("<")
        if dtype.kind not in "fiu":
            raise ValueError(f"{weight['name']} of type {dtype}")
        shape = tuple(weight["shape"])
        if not all(isinstance(length, int) and length >= 0 for length in shape):
            raise ValueError(f"{weight['name']} of shape {shape}")
        end = start + prod(shape) * dtype.itemsize
        if end > len(content):
            raise ValueError("shards that end too early")
        array: Array = np.frombuffer(memoryview(content)[start:end], dtype).reshape(shape)
        if stored and "scale" in stored:
            budget.take_array(shape, np.dtype(np.float32).itemsize)
            array = array.astype(np.float32) * stored["scale"] + stored["min"]
        arrays[weight["name"]] = array
        start = end
    return arrays


def _foreign(
    path: Path, document: Any, stored: Stored, version: Any, in_shape: Shape | None
) -> Foreign:
    """Convert a description and its arrays to a network."""
    module = str(document.get("module", "")) if isinstance(document, dict) else ""
    is_third = str(version) >= "3" if version else "keras" in module and "engine" not in module
    layers = KerasLayers(path, stored, is_third=is_third, in_shape=in_shape)
    try:
        end = layers.network(document["config"], INPUT)
    except (DataError, RecursionError):
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DataError(path, "must describe its layers as Keras does", reason(error)) from error
    if end == INPUT:
        raise DataError(path, "its output must come of its input")
    ops, normalization = simplified(layers.ops, end)
    modules = tuple(op.module for op in ops if op.module is not None)
    return Foreign(
        str(path), modules, ops, layers.in_shape, channels_last=True, normalization=normalization
    )
