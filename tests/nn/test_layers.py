"""Registration of layers: one module per kind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cnn_cli.nn.layers import all_layers, layer_class
from cnn_cli.nn.layers.base import REGISTERED, Layer
from cnn_cli.nn.layers.conv import Conv

INTERNAL = ["add", "channel_conv", "concat", "drop_path", "excite", "identity", "part", "product"]


def test_layers_that_a_config_can_name() -> None:
    layers = all_layers()
    assert list(layers)[:4] == ["conv", "batchnorm", "groupnorm", "layernorm"]
    assert list(layers)[-2:] == ["radix_softmax", "linear"]
    assert all(layer.kind == kind for kind, layer in layers.items())
    assert sorted(set(REGISTERED) - set(layers)) == INTERNAL


@pytest.mark.parametrize("kind", [*all_layers(), *INTERNAL])
def test_a_layer_is_found_by_its_kind_alone(kind: str) -> None:
    """In a process that has imported no other layer."""
    program = (
        "from cnn_cli.nn.layers import layer_class\n"
        "from cnn_cli.nn.layers.base import REGISTERED\n"
        "assert not REGISTERED\n"
        f"print(layer_class({kind!r}).kind)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == kind


@pytest.mark.parametrize("kind", ["", "base", "pooling", "os", "../conv"])
def test_what_is_no_layer(kind: str) -> None:
    with pytest.raises(KeyError):
        layer_class(kind)


def test_a_class_that_inherits_its_kind_is_not_registered() -> None:
    type("Conv", (Conv,), {})
    assert layer_class("conv") is Conv


def test_a_kind_is_registered_once() -> None:
    with pytest.raises(TypeError, match="two layers of the kind 'conv'"):
        type("Other", (Layer,), {"kind": "conv"})
