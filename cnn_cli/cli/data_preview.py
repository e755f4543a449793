"""`cnn data preview`: draw the images of a training epoch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.networks import Overrides
from cnn_cli.cli.shared.options import ConfigFile, Data, Debug, Json, Threads
from cnn_cli.cli.shared.parameters import Option
from cnn_cli.errors import UsageError

if TYPE_CHECKING:
    from cnn_cli.config import AugmentConfig


@command(
    "data preview",
    order=20,
    examples=(
        "cnn data preview configs/small.yaml",
        "cnn data preview configs/small.yaml augment.mixup=0.4 -o mixed.png",
        "cnn data preview configs/seed.yaml --data photos --epoch 3 --rows 2",
    ),
)
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    data: Data = None,
    output_file: Annotated[
        Path,
        Option(
            "--output",
            "-o",
            parser=values.FileOf(".png"),
            help="The image file to write.",
        ),
    ] = Path("preview.png"),
    rows: Annotated[
        int,
        Option(
            "--rows",
            metavar="N",
            parser=values.whole(1, below=51),
            help="Rows of images.",
        ),
    ] = 4,
    columns: Annotated[
        int,
        Option(
            "--columns",
            metavar="N",
            parser=values.whole(1, below=51),
            help="Images per row.",
        ),
    ] = 8,
    epoch: Annotated[
        int,
        Option(
            "--epoch",
            metavar="N",
            parser=values.whole(1),
            help="The epoch, counted from 1.",
        ),
    ] = 1,
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Draw augmented images exactly as training sees them, with labels.

    Draws the first images of the epoch's random order, with the config's `augment`. Mixed images
    show both labels and their shares.
    """
    output.check_output(output_file)
    from cnn_cli.config import load_config
    from cnn_cli.files import write_atomic
    from cnn_cli.report.pictures.preview_sheet import preview_png
    from cnn_cli.system import cpu_count
    from cnn_cli.training.preview import preview

    root = None if data is None else str(data)
    loaded = load_config(config, overrides or [], {"data.root": root})
    last = max(loaded.train.epochs, 1)
    if epoch > last:
        raise UsageError("--epoch", f"must be at most train.epochs, {last}", epoch)
    found = preview(loaded, config, epoch - 1, rows * columns, threads or cpu_count())
    title = f"{len(found.samples):,} of {found.images:,} training images, epoch {epoch}"
    changed = augment_text(loaded.augment)
    if epoch <= loaded.train.head_epochs:
        changed = "as they are, for train.head"
    picture = preview_png(found, columns, title, changed)
    write_atomic(output_file, picture)
    if json:
        output.write_json(_document(output_file, epoch, found.samples))
    else:
        output.write_lines([f"{output_file}: {title}"])


def augment_text(augment: AugmentConfig) -> str:
    """Return the active techniques with their given arguments, on one line."""
    on = augment.model_dump(mode="json", exclude_defaults=True, exclude={"tta"})
    return ", ".join(_technique(key, value) for key, value in on.items()) or "as they are"


def _technique(key: str, value: Any) -> str:
    if value is True:
        return key
    if isinstance(value, dict):
        given = [_technique(name, each) for name, each in value.items() if each is not None]
        return f"{key} ({', '.join(given)})" if given else key
    return f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"


def _document(path: Path, epoch: int, samples: Any) -> dict[str, Any]:
    images = [{"path": sample.path, "labels": dict(sample.labels)} for sample in samples]
    return {"output": str(path), "epoch": epoch, "images": images}
