"""The JSON Schema of the config: it accepts what the loader accepts, and describes every key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import test_augment
import test_config_errors
import test_layer_errors
import test_round_trip
import test_section_errors
from hypothesis import given, settings

from cnn_cli.config import Config, load_config, plain_config
from cnn_cli.config.json_schema import config_schema
from cnn_cli.config.layers import LAYER_KINDS
from cnn_cli.config.networks import FOLDER
from cnn_cli.config.yaml12 import parse_yaml
from cnn_cli.docstrings import docstring
from cnn_cli.errors import ConfigError
from cnn_cli.nn.layers.base import Layer
from cnn_cli.schema import described
from cnn_cli.schema.fields import Frozen

jsonschema = pytest.importorskip("jsonschema")

SHIPPED = sorted(FOLDER.glob("*.yaml"))
CONFIGS = sorted((Path(__file__).parent.parent.parent / "configs").glob("*.yaml"))
SCHEMA = config_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
# Invalid for the loader only: rules across keys, and numbers that JSON lacks.
BEYOND = {
    "conv: {out_channels: 8, kernel_size: 3.0}",
    "scale: .inf",
    "maxpool: {kernel_size: 2, padding: 2}",
    "maxpool: {kernel_size: 3, padding: [0, 1, 0, 2]}",
    "eca: 4",
    "data: {mean: [0.5, 0.5]}",
    "data: {val_split: .nan}",
    "data: {val_split: 0.5, test_split: 0.5}",
    "data: {group: film}",
    "data: {group: '(film'}",
    "train: {optimizer: {lr: .inf}}",
    "train: {progressive_resizing: {delay_fraction: 0.7, finetune_fraction: 0.4}}",
    "train: {weight_decay_factors: {'*': .nan}}",
    "train: {freeze: 3.0}",
    "train: {lr_factors: {3: 1}}",
    "train: {optimizer: {momentum: 0, nesterov: true}}",
    "train: {optimizer: {type: muon, momentum: 0}}",
    "train: {ema: 0.9, lookahead: {}}",
    "train: {loss: cross_entropy}\ndata: {labels: multiple}",
    "data: {labels: multiple, sampler: balanced}",
    "train: {patience: 3, early_stop: 3}",
    "data: {shards: 8}\ntrain: {batch_size: 4}",
    "data: {channels: 5}\naugment: {trivialaugment: true}",
    "data: {depth: 16}\naugment: {color_jitter: 0.1}",
    "data: {depth: float}\naugment: {random_erase: {value: random}}",
    "augment: {pad_crop: {padding: 224, padding_mode: reflect}}",
    "augment: {random_resized_crop: [1, 0.1]}",
    "augment: {color_jitter: 0}",
    "augment: {random_erase: {size: 8, scale: [0.1, 0.2]}}",
    "augment: {random_erase: {scale: none}}",
}


def cases(test: Any) -> list[str]:
    """Return the first parameter of each case of a test."""
    return [values[0] for values in test.pytestmark[0].args[1]]


def errors(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(parse_yaml(text, "text"))]


def wrong() -> Iterator[tuple[str, str]]:
    """Yield what the loader refuses, with the document that contains it."""
    for text, expected in test_config_errors.DOCUMENTS:
        if "is not YAML" not in expected:
            yield text, text
    for text, _ in test_layer_errors.LAYERS:
        yield text, f"model: {{layers: [{text}]}}"
    parts = [text for text, _ in test_section_errors.SECTIONS]
    parts += [f"augment: {text}" for text in cases(test_augment.test_errors)]
    parts += [
        f"train: {{optimizer: {text}}}"
        for text in cases(test_section_errors.test_no_such_optimizer)
    ]
    for text in parts:
        yield text, f"model: {{layers: [relu]}}\n{text}"


def unexplained(node: Any, place: str = "") -> list[str]:
    """Return the keys below `node` that have no description."""
    if isinstance(node, list):
        return [found for child in node for found in unexplained(child, place)]
    if not isinstance(node, dict):
        return []
    found = [
        f"{place}.{key}"
        for key, value in node.get("properties", {}).items()
        if not value.get("description") and value.keys() != {"$ref"}
    ]
    return found + [
        each for key, child in node.items() for each in unexplained(child, f"{place}.{key}")
    ]


def test_it_is_a_schema_of_the_config() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["properties"].keys() == {*Config.model_fields, "include"}
    assert SCHEMA["$defs"]["Layer"]["anyOf"][-1]["properties"].keys() == LAYER_KINDS.keys()
    json.dumps(SCHEMA, allow_nan=False)


def test_every_key_is_explained() -> None:
    assert unexplained(SCHEMA) == []


def classes_below(owner: type) -> Iterator[type]:
    below: list[type] = owner.__subclasses__()
    for each in below:
        yield each
        yield from classes_below(each)


@pytest.mark.parametrize("base", [Frozen, Layer])
def test_descriptions_are_whole(base: type) -> None:
    """The lines of an entry that are not indented more than its name would be left out."""
    for owner in classes_below(base):
        for title in ("Attributes", "Args"):
            section = docstring(owner).partition(f"\n\n{title}:\n")[2].partition("\n\n")[0]
            assert described._ENTRY.sub("", section).strip() == "", owner


def test_defaults_and_bounds() -> None:
    train = SCHEMA["$defs"]["TrainConfig"]["properties"]
    assert train["batch_size"] | {"description": ""} == {
        "type": "integer",
        "default": 64,
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 2**31,
        "description": "",
    }
    assert train["label_smoothing"]["maximum"] == 1
    conv = SCHEMA["$defs"]["ConvConfig"]
    assert conv["properties"]["stride"]["default"] == 1
    assert conv["required"] == ["out_channels", "kernel_size"]


def check_loads_and_fits(file: Path, document: str) -> None:
    """Assert that both loader and schema accept it."""
    file.write_text(document)
    load_config(file)
    assert errors(document) == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configs_that_come_along(path: Path) -> None:
    assert errors(path.read_text()) == []
    assert not list(VALIDATOR.iter_errors(plain_config(load_config(path))))


@pytest.mark.parametrize("text", cases(test_augment.test_ways_of_writing))
def test_ways_of_writing_augment(text: str) -> None:
    assert errors(f"model: {{layers: [relu]}}\naugment: {text}") == []


@pytest.mark.parametrize(
    "text",
    [
        "data:",
        "augment:",
        "train: {optimizer: adam, scheduler: plateau}",
        "train: {optimizer: {lr: 0.2, momentum: 0}, scheduler: {min_lr: 0.1}}",
        "train: {optimizer: {type: muon, other: adamw}}",
        "train: {optimizer: {type: muon, other: {lr: 0.1, nesterov: false}}}",
        "train: {scheduler: {type: step, step_size: 3}}",
        "train: {freeze: stem.weight}",
        "train: {freeze: [stem.weight, batchnorm.*]}",
        "train: {freeze: 3}",
        "train: {freeze: {stem.weight: 3}, lr_factors: {batchnorm.bias: 64}}",
        "train: {class_weights: none, early_stop: null, precise_bn: true}",
        "train: {class_weights: [1, 2.5], lookahead: {}}",
        "data: {image_size: [32, 48], mean: 0.5, std: 1, channels: 1, cache: none}",
    ],
)
def test_ways_of_writing_sections(tmp_path: Path, text: str) -> None:
    document = f"model: {{layers: [relu]}}\n{text}\n"
    check_loads_and_fits(tmp_path / "a.yaml", document)


@pytest.mark.parametrize(
    "layer",
    [
        "relu",
        "relu: ",
        "relu: {name: first}",
        "dropout",
        "dropout: 0.3",
        "maxpool: 2",
        "maxpool: [2, 3]",
        "conv: {out_channels: 8, kernel_size: [3, 1], padding: same, init: whitening}",
        "conv: {out_channels: 8, kernel_size: 3, padding: [1, 0], init: {eps: 0.1}}",
        "linear: classes",
        "linear: 10",
        "scale: 0.5",
        "branches: [[relu], [], [conv: {out_channels: 8, kernel_size: 1}]]",
        "residual: {layers: [relu, {repeat: {times: 2, layers: [gelu]}}], shortcut: none}",
        "squeeze_excite: 8",
        "repeat: {times: 2, index: i, layers: [conv: {out_channels: $(8 + i), kernel_size: 1}]}",
    ],
)
def test_ways_of_writing_layers(tmp_path: Path, layer: str) -> None:
    document = f"model: {{layers: [{layer}]}}"
    check_loads_and_fits(tmp_path / "a.yaml", document)


@pytest.mark.parametrize(
    "model",
    [
        "{network: resnet18}",
        "{network: {name: resnet50, width: 0.5, drop_path: 0.1}, init: pytorch}",
        "{define: {w: 8, 'b(c, k=3)': [{conv: {out_channels: $c, kernel_size: $k}}, relu]},"
        " layers: [b: [$w], b: {c: 8, k: 1}, residual: [b: 8]]}",
    ],
)
def test_ways_of_writing_networks(tmp_path: Path, model: str) -> None:
    check_loads_and_fits(tmp_path / "a.yaml", f"model: {model}")


WHOLE = """
augment: {pad_crop: {padding: 4}, cutmix: 0.5}
model: {network: {name: resnet18, width: 0.5}}
train: {optimizer: adam, scheduler: {type: step, step_size: 3}, loss: focal}
"""


@pytest.mark.parametrize(
    "over",
    [
        "model: {init: kaiming}",
        "model: {network: {width: 2}}",
        "augment: {pad_crop: {padding_mode: reflect}, cutmix: {p: 0.3}}",
        "train: {optimizer: {betas: [0.8, 0.99]}, scheduler: {gamma: 0.5}, loss: {gamma: 3}}",
    ],
)
def test_what_another_config_completes(tmp_path: Path, over: str) -> None:
    """Alone, each lacks something that the included file has."""
    (tmp_path / "base.yaml").write_text(WHOLE)
    check_loads_and_fits(tmp_path / "a.yaml", f"include: base.yaml\n{over}")
    alone = over if over.startswith("model") else f"model: {{layers: [relu]}}\n{over}"
    assert errors(alone)
    assert errors(f"include: null\n{alone}")


def test_a_config_without_network(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(WHOLE)
    check_loads_and_fits(tmp_path / "a.yaml", "include: base.yaml\ntrain: {epochs: 9}")
    assert errors("train: {epochs: 9}") == ["'model' is a required property"]


def test_blocks_of_the_included_file(tmp_path: Path) -> None:
    block = "b(c): [conv: {out_channels: $c, kernel_size: 1}]"
    (tmp_path / "base.yaml").write_text(f"model: {{define: {{{block}}}, layers: [b: 3]}}")
    over = "model: {layers: [b: 8]}"
    check_loads_and_fits(tmp_path / "a.yaml", f"include: base.yaml\n{over}")
    assert errors(over)


@pytest.mark.parametrize(
    "over",
    [
        "train: {epoch: 9}",
        "model: {layers: [relu], network: resnet18}",
        "model: {layers: []}",
        "train: {optimizer: {lr: -1}}",
        "models: {}",
    ],
)
def test_what_no_config_completes(tmp_path: Path, over: str) -> None:
    (tmp_path / "base.yaml").write_text(WHOLE)
    document = f"include: base.yaml\n{over}\n"
    (tmp_path / "a.yaml").write_text(document)
    with pytest.raises(ConfigError):
        load_config(tmp_path / "a.yaml")
    assert errors(document)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_networks_that_come_along(path: Path) -> None:
    assert errors(path.read_text(encoding="utf-8")) == []


@settings(max_examples=60, deadline=None)
@given(test_round_trip.documents)
def test_any_config_is_accepted(document: dict[str, Any]) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []


@pytest.mark.parametrize(
    ("text", "document"), [pytest.param(*case, id=case[0]) for case in wrong()]
)
def test_what_is_wrong(text: str, document: str) -> None:
    assert bool(errors(document)) is (text not in BEYOND)


def test_the_list_of_exceptions_is_up_to_date() -> None:
    assert {text for text, _ in wrong()} >= BEYOND
