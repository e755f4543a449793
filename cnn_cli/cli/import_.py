"""`cnn import`: weights that others trained, as a checkpoint of this program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.networks import Overrides
from cnn_cli.cli.shared.options import Debug, Json


@command(
    "import",
    order=90,
    examples=(
        "cnn import resnet18.safetensors --config configs/resnet18.yaml --output resnet18.npz",
        "cnn import model.json --config net.yaml --output net.npz --channel-order bgr",
        "  --mean 103.939,116.779,123.68 --std 1 --value-range 255 --classes names.txt",
    ),
)
def run(
    weights: Annotated[
        Path,
        typer.Argument(
            metavar="WEIGHTS",
            parser=values.path("WEIGHTS"),
            help="A .safetensors, .onnx, .h5, .npz or .pth file, or a Keras model.json.",
            show_default=False,
        ),
    ],
    config: Annotated[
        str,
        typer.Option(
            "--config",
            metavar="CONFIG",
            parser=values.text,
            help="The config whose network the weights are of.",
            show_default=False,
        ),
    ],
    output_file: Annotated[
        Path,
        typer.Option(
            "--output",
            metavar="FILE",
            parser=values.path("--output"),
            help="The checkpoint (.npz) to write.",
            show_default=False,
        ),
    ],
    overrides: Overrides = None,
    map_file: Annotated[
        Path | None,
        typer.Option(
            "--map",
            metavar="FILE",
            parser=values.path("--map"),
            help="YAML: the network's layers, each with the file's name for it.",
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes",
            metavar="FILE",
            parser=values.path("--classes"),
            help="The class names: one a line, or JSON. Default: data.classes, or numbers.",
        ),
    ] = None,
    mean: Annotated[
        values.Numbers | None,
        typer.Option(
            "--mean",
            metavar="X[,Y,Z]",
            parser=values.numbers("--mean"),
            help="What is subtracted from pixels. Default: data.mean.",
        ),
    ] = None,
    std: Annotated[
        values.Numbers | None,
        typer.Option(
            "--std",
            metavar="X[,Y,Z]",
            parser=values.numbers("--std", above_0=True),
            help="What pixels are then divided by. Default: data.std.",
        ),
    ] = None,
    value_range: Annotated[
        float,
        typer.Option(
            "--value-range",
            metavar="1|255",
            parser=values.number("--value-range"),
            help="The value of white where mean and std are applied.",
        ),
    ] = 1.0,
    channel_order: Annotated[
        str,
        typer.Option(
            "--channel-order",
            metavar="rgb|bgr",
            parser=values.choice("--channel-order", ("rgb", "bgr")),
            help="Of the colours the weights expect, and of mean and std.",
        ),
    ] = "rgb",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Turn weights that others trained into a checkpoint.

    Layers are matched by structure where the file has it (.onnx, Keras), by the names of known
    networks (torchvision, timm) where it has names only, or by --map. What is missing, extra or
    misshapen is listed, and then nothing is written.
    """
    from cnn_cli.errors import UsageError
    from cnn_cli.interop.importing import ImportOptions, import_weights

    if value_range == 0:
        raise UsageError("--value-range", "must be a number above 0", "0")
    if output_file.suffix != ".npz":
        raise UsageError("--output", "must be a name ending in .npz", output_file)
    output.check_output(output_file)
    order = cast(Literal["rgb", "bgr"], channel_order)
    options = ImportOptions(
        map_file,
        classes,
        None if mean is None else mean.values,
        None if std is None else std.values,
        value_range,
        order,
    )
    report = import_weights(weights, config, overrides or [], output_file, options)
    if json:
        output.write_json(report.as_dict())
    else:
        output.write_lines(report.lines())
