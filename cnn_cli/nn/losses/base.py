"""What every loss's arguments are."""

from __future__ import annotations

from typing import ClassVar

from cnn_cli.nn.loss import Loss
from cnn_cli.nn.types import Array
from cnn_cli.schema.fields import Choice


class LossConfig(Choice):
    """The arguments of a loss.

    Attributes:
        labels: for which `data.labels` it is.
    """

    labels: ClassVar[tuple[str, ...]] = ("single",)

    def check_labels(self, labels: str) -> None:
        """Refuse arguments that are not for these `data.labels`, which are among its own.

        Raises:
            PydanticCustomError: of `broken`.
        """

    def make(self, *, multiple: bool = False, weights: Array | None = None) -> Loss:
        """The loss itself.

        Args:
            multiple: whether an image may have several labels: targets are 0 and 1 for each class.
            weights: (classes,) of the labels that images have, where they may have several; those
                of one label are in the targets.
        """
        raise NotImplementedError
