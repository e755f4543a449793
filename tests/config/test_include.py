"""A config merged into another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cnn_cli.config import Config, load_config, plain_config
from cnn_cli.errors import ConfigError

BASE = """
data: {root: pictures, image_size: 28, channels: 1}
model: {layers: [conv: {out_channels: 8, kernel_size: 3}, linear: classes]}
train: {epochs: 5, optimizer: {type: sgd, lr: 0.2, momentum: 0.8}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "more").mkdir()
    (tmp_path / "more/base.yaml").write_text(BASE)
    return tmp_path


def load(folder: Path, text: str) -> Config:
    (folder / "a.yaml").write_text(text)
    return load_config(folder / "a.yaml")


def error(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return caught.value.line().replace(f"{folder}/", "")


def test_mappings_are_merged_and_all_else_replaced(folder: Path) -> None:
    config = load(folder, "include: more/base.yaml\ntrain: {epochs: 9, optimizer: {lr: 0.3}}\n")
    assert config.train.epochs == 9
    assert (
        plain_config(config)["train"]["optimizer"] | {"lr": 0.3, "momentum": 0.8}
        == (plain_config(config)["train"]["optimizer"])
    )
    assert config.data.channels == 1
    assert config.data.root == str(folder / "more/pictures")
    assert (
        load(folder, "include: more/base.yaml\nmodel: {layers: [relu]}").model.layers[0].kind
        == "relu"
    )


@pytest.mark.parametrize("optimizer", ["adam", "{type: adam}"])
def test_another_optimizer_leaves_what_was_the_first_ones(folder: Path, optimizer: str) -> None:
    config = load(folder, f"include: more/base.yaml\ntrain: {{optimizer: {optimizer}}}")
    found: Any = config.train.optimizer
    assert (found.type, found.lr) == ("adam", 0.2)


def test_another_network_takes_the_place_of_the_layers(folder: Path) -> None:
    config = load(folder, "include: more/base.yaml\nmodel: {network: resnet18}")
    assert len(config.model.layers) > 10
    (folder / "b.yaml").write_text("include: a.yaml\nmodel: {layers: [relu]}")
    assert len(load_config(folder / "b.yaml").model.layers) == 1


def test_a_network_s_arguments_are_merged(folder: Path) -> None:
    (folder / "net.yaml").write_text("model: {network: resnet18}")
    config = load(folder, "include: net.yaml\nmodel: {network: {width: 0.5}}")
    assert config.model.layers[0].arguments()["out_channels"] == 32
    (folder / "b.yaml").write_text("include: a.yaml\nmodel: {network: resnet50}")
    config = load_config(folder / "b.yaml")
    assert config.model.layers[0].arguments()["out_channels"] == 64


def test_blocks_of_the_included_file_can_be_called(folder: Path) -> None:
    (folder / "blocks.yaml").write_text("model: {define: {b: [relu, tanh], w: 8}}")
    config = load(folder, "include: blocks.yaml\nmodel: {define: {w: 9}, layers: [b, linear: $w]}")
    assert [layer.kind for layer in config.model.layers] == ["relu", "tanh", "linear"]
    assert config.model.layers[2].arguments()["out_features"] == 9


def test_the_command_line_wins(folder: Path) -> None:
    load(folder, "include: more/base.yaml\ntrain: {epochs: 9}")
    assert load_config(folder / "a.yaml", ["train.epochs=2"]).train.epochs == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "include: a.yaml",
            "a.yaml: include: a config must not include itself. Got a.yaml > a.yaml.",
        ),
        ("include: 3", "a.yaml: include: must be a file's name. Got 3."),
        ("include: [b.yaml]", "a.yaml: include: must be a file's name. Got ['b.yaml']."),
        (
            "include: b.yaml",
            "a.yaml: include: b.yaml: cannot be read. Got no such file or directory.",
        ),
        ("include: more/base.yaml\ntrain: {epochs: -1}", "a.yaml: train.epochs: must be a whole"),
        ("include: more/wrong.yaml", "more/wrong.yaml: train.epoch: unknown key."),
        (
            "include: more/wrong.yaml\ntrain: {lr: 1}",
            "more/wrong.yaml: train.epoch: unknown key. Did you mean 'epochs'?",
        ),
        (
            "include: more/list.yaml",
            "more/list.yaml: must be a mapping of keys to values. Got [1].",
        ),
        (
            "data: {include: more/base.yaml}\nmodel: {layers: [relu]}",
            "a.yaml: data.include: unknown",
        ),
    ],
)
def test_errors_name_the_file(folder: Path, text: str, expected: str) -> None:
    (folder / "more/wrong.yaml").write_text(BASE.replace("epochs", "epoch"))
    (folder / "more/list.yaml").write_text("[1]")
    assert error(folder, text).startswith(expected)


def test_a_circle_is_named(folder: Path) -> None:
    (folder / "b.yaml").write_text("include: c.yaml")
    (folder / "c.yaml").write_text("include: b.yaml")
    expected = "c.yaml: include: a config must not include itself. Got b.yaml > c.yaml > b.yaml."
    assert error(folder, "include: b.yaml") == expected


def test_a_loop_of_links_is_named(folder: Path) -> None:
    (folder / "b.yaml").symlink_to("b.yaml")
    expected = "cannot be read. Got too many levels of symbolic links."
    assert error(folder, "include: b.yaml") == f"a.yaml: include: b.yaml: {expected}"
    with pytest.raises(ConfigError) as caught:
        load_config(folder / "b.yaml")
    assert caught.value.line() == f"{folder}/b.yaml: {expected}"


def test_a_chain_has_an_end(folder: Path) -> None:
    for i in range(30):
        (folder / f"{i}.yaml").write_text(f"include: {i + 1}.yaml")
    expected = "18.yaml: include: at most 20 files include each other."
    assert error(folder, "include: 0.yaml") == expected


def test_an_override_is_no_files_fault(folder: Path) -> None:
    load(folder, "include: more/base.yaml")
    with pytest.raises(ConfigError) as caught:
        load_config(folder / "a.yaml", ["train.epochs=-1"])
    assert caught.value.line().startswith(f"{folder}/a.yaml: train.epochs: ")
