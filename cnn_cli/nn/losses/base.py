"""What every loss's arguments are."""

from __future__ import annotations

from cnn_cli.nn.loss import Loss
from cnn_cli.schema.fields import Choice


class LossConfig(Choice):
    """The arguments of a loss."""

    def make(self) -> Loss:
        """The loss itself."""
        raise NotImplementedError
