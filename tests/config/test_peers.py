"""Keys of other programs lead to existing keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnn_cli.config.load import load_config
from cnn_cli.errors import ConfigError
from cnn_cli.peer_names import KEYS, NEEDLESS, peer_hint

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("place", sorted({*KEYS.values()} - {"model.network"}))
def test_what_is_suggested_is_a_key(place: str) -> None:
    """An invalid value is refused, but not as an unknown key."""
    with pytest.raises(ConfigError) as caught:
        load_config(ROOT / "configs/small.yaml", [f"{place}=[a, {{b: c}}]"])
    assert "unknown key" not in caught.value.line()


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("epochs=3", " Did you mean 'train.epochs'?"),
        ("patience=3", " Did you mean 'train.early_stop'?"),
        ("save_best_only=true", " Did you mean 'train.keep'?"),
        ("imgsz=64", " Did you mean 'data.image_size'?"),
        ("image_size=64", " Did you mean 'data.image_size'?"),
        ("train.lr=0.1", " Did you mean 'train.optimizer.lr'?"),
        ("model.num_classes=3", " Leave it out: the classes are counted in data.root."),
        ("device=0", " Leave it out: the CPU computes."),
        ("erasing=0.4", " Did you mean 'augment.random_erase'?"),
        ("pretrained=true", " Did you mean 'train.weights'?"),
        ("resume=true", " Give --resume instead."),
        ("train.epoch=3", " Did you mean 'epochs'?"),
        ("train.quux=3", ""),
    ],
)
def test_the_error_names_the_key(override: str, hint: str) -> None:
    file = ROOT / "configs/small.yaml"
    with pytest.raises(ConfigError) as caught:
        load_config(file, [override])
    key = override.partition("=")[0]
    assert caught.value.line() == f"{file}: {key}: unknown key.{hint}"


def test_own_keys_are_no_hint() -> None:
    assert peer_hint("train.epochs") == ""
    assert not {*KEYS} & {*NEEDLESS}
