"""`cnn verify`: compare images with those of a network's training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.options import IMAGES, Debug, Json
from cnn_cli.cli.shared.parameters import Argument, Option
from cnn_cli.errors import GateError

NAME = "verify"


@command(
    NAME,
    order=45,
    examples=(
        "cnn verify runs/small",
        "cnn verify model.npz --data photos --json",
        "cnn verify runs/folds",
    ),
)
def run(
    ckpt: Annotated[
        Path,
        Argument(
            metavar="CKPT|RUN",
            parser=values.path,
            help="A checkpoint (.npz), or a run folder; of a run of folds, each fold.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path | None,
        Option(
            "--data",
            metavar="DIR",
            parser=values.path,
            help=f"Where the images are now. {IMAGES} Default: the run's.",
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare images and config with those of the training.

    Lists images that were added, changed or removed since, by the run folder's receipt.csv, and
    changed keys of the config. Without receipt.csv, the checkpoint's digest shows only which part
    changed. Exits with 6 if anything differs.
    """
    from cnn_cli.report.text.verified import difference_text, verified_text
    from cnn_cli.runs.checkpoint import holds_folds
    from cnn_cli.runs.folder import folds_in
    from cnn_cli.runs.verify import verify

    if holds_folds(ckpt):
        found = {place.name: verify(place, data) for place in folds_in(ckpt)}
    else:
        found = {"": verify(ckpt, data)}
    if json and "" in found:
        output.write_json(found[""].as_dict())
    elif json:
        same = all(each.is_same for each in found.values())
        folds = [each.as_dict() for each in found.values()]
        output.write_json({"run": str(ckpt), "same": same, "folds": folds})
    else:
        texts = [_titled(name, verified_text(each)) for name, each in found.items()]
        output.write("\n".join(texts))
    for each in found.values():
        if not each.is_same:
            rule = "the images and the config must be as they were when the network was trained"
            raise GateError(each.checkpoint, rule, difference_text(each))


def _titled(name: str, text: str) -> str:
    return f"{name}\n{text}" if name else text
