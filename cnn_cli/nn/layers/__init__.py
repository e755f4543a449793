"""The layers: one module per kind, named after it; activations share `activation`.

A class with a `kind` is registered when its module is imported. Modules are imported when a layer
is first used, so a network only imports its own layers. Layers import the kernels and the context.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from cnn_cli.nn.layers.base import BLOCKS, REGISTERED, Layer, Written


def layer_class(kind: str) -> type[Layer]:
    """Return the class of a kind of layer.

    Raises:
        KeyError: there is no such kind.
    """
    if kind not in REGISTERED:
        import_module(f"{__name__}.{kind if kind in _modules() else 'activation'}")
    return REGISTERED[kind]


def all_layers() -> dict[str, type[Layer]]:
    """Return all layers that a config can name, by kind, in the order of lists."""
    written = all_written()
    return {kind: REGISTERED[kind] for kind in written if kind in REGISTERED}


def all_written() -> dict[str, type[Written]]:
    """Like `all_layers`, with the kinds that stand for several layers."""
    for module in _modules():
        import_module(f"{__name__}.{module}")
    named = [each for each in (*REGISTERED.values(), *BLOCKS.values()) if each.listed]
    return {each.kind: each for each in sorted(named, key=lambda each: each.listed)}


@cache
def _modules() -> tuple[str, ...]:
    return tuple(module.name for module in iter_modules(__path__))
