"""Invalid config files: one line with the place, the rule and what was found."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_errors import BELOW_1, MAPPING, message, names

from cnn_cli.config import load_config, required_root, validate_config
from cnn_cli.errors import ConfigError

DOCUMENTS = [
    ("", f"{MAPPING} Got nothing."),
    ("- a", f"{MAPPING} Got ['a']."),
    ("words", f"{MAPPING} Got 'words'."),
    ("{}", "model: is required."),
    ("model: 3", f"model: {MAPPING} Got 3."),
    ("model: {}", "model.layers: is required."),
    ("model: {layers: []}", "model.layers: must not be empty. Got []."),
    ("model: {layers: relu}", "model.layers: must be a list. Got 'relu'."),
    ("model: {layers: {relu: 1}}", "model.layers: must be a list. Got a mapping."),
    ("model: {layers: [relu], init: he}", "model.init: must be pytorch or kaiming. Got 'he'."),
    (
        "a: [",
        "is not YAML: expected the node content, but found '<stream end>' at line 1, column 5.",
    ),
    ("a: 1\na: 2", "is not YAML: the key 'a' occurs twice at line 2, column 1."),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.yaml"


@pytest.mark.parametrize(("text", "expected"), DOCUMENTS, ids=names(DOCUMENTS))
def test_document(path: Path, text: str, expected: str) -> None:
    assert message(path, text) == expected


def test_the_first_error_is_the_one_told(path: Path) -> None:
    text = "model: {layers: [relu]}\ndata: {val_split: 2}\ntrain: {epochs: -1}"
    assert message(path, text) == f"data.val_split: {BELOW_1} Got 2."


def test_long_values_are_cut(path: Path) -> None:
    line = message(path, f"model: {{layers: [relu], init: {'x' * 200}}}")
    assert line == f"model.init: must be pytorch or kaiming. Got '{'x' * 58}…."


def test_files_that_are_no_text(path: Path) -> None:
    assert message(path, b"\xff\xfea") == "must be UTF-8 text."
    assert message(path, b"a: \x00").startswith("is not YAML: unacceptable character #x0000")
    assert message(path, b"#" * 1_000_001) == "must be at most 1,000,000 bytes."


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        (
            "train.epochs=3",
            "needs a config file before it, as in cnn train CONFIG KEY=VALUE",
        ),
        (
            "configs/ResNet_18.yaml",
            "cannot be read; `cnn networks resnet18 > resnet18.yaml` writes such a config",
        ),
        (
            "resnet50",
            "cannot be read; `cnn networks resnet50 > resnet50.yaml` writes such a config",
        ),
    ],
)
def test_a_config_that_is_not_there_may_be_something_else(name: str, rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(name)
    assert caught.value.line() == f"{name}: {rule}. Got no such file or directory."


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "no.yaml")
    assert caught.value.line() == (
        f"{tmp_path}/no.yaml: cannot be read. Got no such file or directory."
    )
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path)
    assert caught.value.line() == f"{tmp_path}: cannot be read. Got a folder."


def test_control_characters_stay_on_one_line(path: Path) -> None:
    line = message(path, 'model: {layers: ["re\\nlu\\e[31m"]}')
    assert line == "model.layers[0]: no such layer. Got 're\\nlu\\x1b[31m'."


def test_the_file_is_named_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.yaml").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^c\.yaml: model: is required\.$"):
        load_config("c.yaml")


def test_a_root_is_required_somewhere() -> None:
    config = validate_config({"model": {"layers": ["relu"]}}, "c.yaml")
    with pytest.raises(ConfigError) as caught:
        required_root(config, "c.yaml")
    assert caught.value.line() == "c.yaml: data.root: is required, here or as --data DIR."


def test_an_unknown_key_is_told_before_a_missing_one(path: Path) -> None:
    """It is often the same key misspelled."""
    line = message(path, "Model: {layers: [relu]}")
    assert line == "Model: unknown key. Did you mean 'model'?"


def test_keys_are_words(path: Path) -> None:
    assert message(path, "1: 2\nmodel: {layers: [relu]}") == "keys must be words. Got 1."


def test_a_home_that_is_not_known_is_a_name_like_any_other(path: Path) -> None:
    path.write_text("model: {layers: [relu]}\ndata: {root: ~nosuchuser/x}")
    assert load_config(path).data.root == str(path.parent / "~nosuchuser/x")
