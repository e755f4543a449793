"""The layers: one module a kind, named after it; activations share `activation`.

A class that states its `kind` is registered when its module is imported, and modules are imported
when a layer is asked for: a network costs the import of its own layers only. Layers import the
kernels, the context and the workspace.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from cnn_cli.nn.layers.base import BLOCKS, REGISTERED, Layer, Written


def layer_class(kind: str) -> type[Layer]:
    """The class of a kind of layer.

    Raises:
        KeyError: there is none of that name.
    """
    if kind not in REGISTERED:
        import_module(f"{__name__}.{kind if kind in _modules() else 'activation'}")
    return REGISTERED[kind]


def all_layers() -> dict[str, type[Layer]]:
    """Every layer that a config can name, by kind, in the order of lists of them."""
    written = all_written()
    return {kind: REGISTERED[kind] for kind in written if kind in REGISTERED}


def all_written() -> dict[str, type[Written]]:
    """The same, and what stands for several layers."""
    for module in _modules():
        import_module(f"{__name__}.{module}")
    named = [each for each in (*REGISTERED.values(), *BLOCKS.values()) if each.listed]
    return {each.kind: each for each in sorted(named, key=lambda each: each.listed)}


@cache
def _modules() -> tuple[str, ...]:
    return tuple(module.name for module in iter_modules(__path__))
