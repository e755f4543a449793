"""The base class of the losses' arguments."""

from __future__ import annotations

from typing import ClassVar

from cnn_cli.nn.loss import Loss
from cnn_cli.nn.types import Array
from cnn_cli.schema.fields import Choice


class LossConfig(Choice):
    """The arguments of a loss.

    Attributes:
        labels: the `data.labels` for which it is defined.
    """

    labels: ClassVar[tuple[str, ...]] = ("single",)

    def check_labels(self, labels: str) -> None:
        """Refuse arguments that are undefined for these `data.labels`.

        Raises:
            PydanticCustomError: from `broken`.
        """

    def weighs_targets(self, *, multiple: bool) -> bool:
        """Whether class weights are factors of the targets; if not, `make` receives them.

        Args:
            multiple: as in `make`.
        """
        return not multiple

    def make(self, *, multiple: bool = False, weights: Array | None = None) -> Loss:
        """Create the loss.

        Args:
            multiple: images may have several labels: targets are 0 and 1 for each class.
            weights: (classes,) weights of present labels; None for all 1, or if the targets contain
                them.
        """
        raise NotImplementedError
