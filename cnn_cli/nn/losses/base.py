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

    def weighs_targets(self, *, multiple: bool) -> bool:
        """Whether weights of classes are factors of the targets; else `make` is given them.

        Args:
            multiple: of `make`.
        """
        return not multiple

    def make(self, *, multiple: bool = False, weights: Array | None = None) -> Loss:
        """The loss itself.

        Args:
            multiple: whether an image may have several labels: targets are 0 and 1 for each class.
            weights: (classes,) of the labels that images have; None for all 1, or where the
                targets have them.
        """
        raise NotImplementedError
