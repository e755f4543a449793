"""Train, evaluate and run convolutional image classifiers in plain NumPy.

From Python: ``model = cnn_cli.load("runs/small")``, ``model.predict(paths_or_arrays)``; see `api`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn_cli.api import ImageError, Model, Prediction, load

__version__ = "0.1.0"
__all__ = ["ImageError", "Model", "Prediction", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import on first access what predicting needs, so that `import cnn_cli` stays fast."""
    if name in ("ImageError", "Model", "Prediction", "load"):
        from cnn_cli import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
