"""Each technique has its own random numbers."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from cnn_cli.data import augment
from cnn_cli.data.augment.draws import Stream


def test_no_two_techniques_share_their_numbers() -> None:
    """Two techniques with one number would be correlated: large rotations with strong color
    changes.
    """
    names = [f"{augment.__name__}.{found.name}" for found in iter_modules(augment.__path__)]
    streams = {
        name: value
        for module in map(import_module, names)
        for name, value in vars(module).items()
        if isinstance(value, Stream)
    }
    assert len(streams) >= 8
    assert len(set(streams.values())) == len(streams)
