"""`cnn export`: a checkpoint for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.options import Checkpoint, Debug, Json
from cnn_cli.cli.shared.parameters import Option
from cnn_cli.errors import UsageError


@command(
    "export",
    order=100,
    examples=(
        "cnn export --ckpt runs/small --output small.onnx --fold --check photos",
        "cnn export --ckpt runs/small --output small.safetensors",
    ),
)
def run(
    ckpt: Checkpoint,
    output_file: Annotated[
        Path,
        Option(
            "--output",
            "-o",
            metavar="FILE",
            parser=values.path("--output"),
            help="The file to write, ending in .onnx or .safetensors.",
            show_default=False,
        ),
    ],
    preprocessing: Annotated[
        bool,
        Option(
            "--preprocessing",
            help="ONNX: read pixels (n·height·width·channels, uint8 or as data.depth says) "
            "and normalize them in the network.",
        ),
    ] = False,
    fold: Annotated[bool, Option("--fold", help="ONNX: fold batchnorm into convolutions.")] = False,
    check: Annotated[
        list[str] | None,
        Option(
            "--check",
            metavar="SOURCE",
            parser=values.text,
            help="An image or a folder on which onnxruntime must give the same "
            "probabilities. May be repeated.",
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Export a checkpoint to ONNX or safetensors.

    ONNX: a network for any number of images, with class names and preprocessing in the metadata;
    you resize the images. It is checked by onnx, and with --check against onnxruntime: if a
    probability differs by more than 1e-4, the exit code is 6 and nothing is written. safetensors:
    the weights under PyTorch's names.
    """
    kind = output_file.suffix
    if kind not in (".onnx", ".safetensors"):
        raise UsageError("--output", "must be a name ending in .onnx or .safetensors", output_file)
    if kind == ".safetensors" and (preprocessing or fold or check):
        name = "--preprocessing" if preprocessing else "--fold" if fold else "--check"
        raise UsageError(name, "goes with an --output ending in .onnx")
    from cnn_cli.inference.classifier import Classifier

    classifier = Classifier.load(ckpt, several=True)
    output.check_output(output_file)
    found: dict[str, object] = {"output": str(output_file)}
    if kind == ".safetensors":
        from cnn_cli.interop.export.safetensors_export import save_safetensors

        save_safetensors(classifier, output_file)
    else:
        from cnn_cli.files import write_atomic
        from cnn_cli.interop.export.onnx_check import check_onnx
        from cnn_cli.interop.export.onnx_export import to_onnx

        content = to_onnx(classifier, preprocessing=preprocessing, fold=fold)
        if check:
            images, difference = check_onnx(content, classifier, check)
            found |= {"images": images, "difference": difference}
        write_atomic(output_file, content)
    if json:
        output.write_json(found)
        return
    if check:
        output.write(f"checked  {images} images, largest difference {difference:.2g}\n")
    output.write_lines([f"written  {output_file}"])
