"""`cnn verify`: compare images with those of a network's training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.options import IMAGES, Debug, Json
from cnn_cli.cli.shared.parameters import Argument, Option
from cnn_cli.errors import GateError, listed

if TYPE_CHECKING:
    from cnn_cli.runs.verify import Verified

NAME = "verify"
WORDS = {"train": "training", "val": "validation"}


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
            parser=values.path("CKPT"),
            help="A checkpoint (.npz), or a run folder; of a run of folds, each fold.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path | None,
        Option(
            "--data",
            metavar="DIR",
            parser=values.path("--data"),
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
        output.write("\n".join(_titled(name, _text(each)) for name, each in found.items()))
    for each in found.values():
        if not each.is_same:
            rule = "must be as they were when the network was trained"
            raise GateError(each.checkpoint, f"the images and the config {rule}", _got(each))


def _titled(name: str, text: str) -> str:
    return f"{name}\n{text}" if name else text


def _text(found: Verified) -> str:
    from cnn_cli.report.text.table import format_pairs

    pairs = [
        (WORDS[part], f"{count:,} images, {_same(found.same[part])}")
        for part, count in found.images.items()
    ]
    pairs.append(("config", _same(found.config == [])))
    pairs += [("changed", each) for each in found.during]
    rows = [
        "\t".join([each.kind, each.part, each.path, *filter(None, [each.what])])
        for each in found.changes or []
    ]
    return format_pairs(pairs) + "".join(f"{row}\n" for row in rows)


def _same(is_same: bool) -> str:
    return "the same" if is_same else "changed"


def _got(found: Verified) -> str:
    parts = []
    if found.changes is None:
        changed = [WORDS[part] for part, is_same in found.same.items() if not is_same]
        parts.append(f"other {' and '.join(changed)} images, and no list that names them")
    for kind in ("added", "changed", "removed"):
        count = sum(each.kind == kind for each in found.changes or [])
        if count:
            parts.append(f"{count:,} {kind}")
    if found.config is None:
        parts.append("another config in the checkpoint")
    elif found.config:
        parts.append(f"another {listed(found.config)} in config.yaml")
    if found.during:
        parts.append("images that changed during the training")
    return ", ".join(parts)
