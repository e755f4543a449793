"""`cnn export`: write a checkpoint for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.bars import counting, elapsing
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.gates import NOT_DEFINED, Gate, check_gates, gate
from cnn_cli.cli.shared.labeled import find_images, split_option
from cnn_cli.cli.shared.options import Checkpoint, Debug, Json
from cnn_cli.cli.shared.parameters import Option
from cnn_cli.errors import UsageError, size_text

if TYPE_CHECKING:
    from cnn_cli.inference.classifier import Classifier
    from cnn_cli.inference.judging import AnyJudgement


@command(
    "export",
    order=100,
    examples=(
        "cnn export --ckpt runs/small --output small.onnx --fold --check photos",
        "cnn export --ckpt runs/small --output small.safetensors",
        "cnn export --ckpt runs/seed --output seed8.onnx --int8 --calibrate photos",
        "cnn export --ckpt runs/resnet18 -o resnet18.safetensors --names torchvision",
    ),
)
def run(
    ckpt: Checkpoint,
    output_file: Annotated[
        Path,
        Option(
            "--output",
            "-o",
            parser=values.FileOf(".onnx", ".safetensors"),
            help="The file to write.",
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
    int8: Annotated[
        bool,
        Option("--int8", help="ONNX: quantize to int8, a quarter of the size; folds batchnorm."),
    ] = False,
    calibrate: Annotated[
        Path | None,
        Option(
            "--calibrate",
            metavar="DIR",
            parser=values.path,
            help="With --int8: labeled images that set the activation ranges and measure "
            "accuracy before and after.",
        ),
    ] = None,
    split: Annotated[str | None, split_option(" Default: all.")] = None,
    fail_under: Annotated[
        list[Gate] | None,
        Option(
            "--fail-under",
            metavar="METRIC=BOUND",
            parser=gate(topk=False),
            help="With --int8: exit with code 6 and write nothing if the int8 network misses the "
            "bound. May be repeated.",
        ),
    ] = None,
    names: Annotated[
        str,
        Option(
            "--names",
            parser=values.OneWord(("own", "torchvision")),
            help="Names of the arrays in a .safetensors: this network's, or those that "
            "torchvision's load_state_dict expects.",
        ),
    ] = "own",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Export a checkpoint to ONNX or safetensors.

    ONNX: a network for any number of images, with class names and preprocessing in the metadata;
    you resize the images. It is checked by onnx, and with --check against onnxruntime: if a
    probability differs by more than 1e-4, the exit code is 6 and nothing is written. safetensors:
    the weights in PyTorch's layouts; --names torchvision fits the torchvision network without
    auxiliary heads.
    """
    kind = output_file.suffix.lower()
    if kind == ".safetensors" and (preprocessing or fold or check):
        name = "--preprocessing" if preprocessing else "--fold" if fold else "--check"
        raise UsageError(name, "goes with an --output ending in .onnx")
    _check_int8(int8, kind, calibrate, split, bool(check), bool(fail_under))
    if kind == ".onnx" and names != "own":
        raise UsageError("--names", "goes with an --output ending in .safetensors", names)
    from cnn_cli.inference.classifier import Classifier

    classifier = Classifier.load(ckpt)
    check_gates(fail_under or [], classifier.classes, classifier.labels_kind)
    output.check_output(output_file)
    _note_left_out(classifier)
    found: dict[str, object] = {"output": str(output_file)}
    if kind == ".safetensors":
        from cnn_cli.interop.export.safetensors_export import save_safetensors

        of = cast(Literal["own", "torchvision"], names)
        save_safetensors(classifier, output_file, of)
    else:
        from cnn_cli.files import write_atomic
        from cnn_cli.interop.export.onnx_check import check_onnx
        from cnn_cli.interop.export.onnx_export import to_onnx

        content = to_onnx(classifier, preprocessing=preprocessing, fold=fold or int8)
        if check:
            with counting("comparing with onnxruntime:", "images") as shown:
                images, difference = check_onnx(content, classifier, check, shown.add)
            found |= {"images": images, "difference": difference}
        if calibrate is not None:
            with elapsing("quantizing"):
                content, judged, told = _quantize(content, classifier, calibrate, split or "all")
            found |= told
            if not json:
                output.write(_as_text(told))
            for one in fail_under or []:
                one.check(judged.value(one.metric), NOT_DEFINED)
        write_atomic(output_file, content)
    if json:
        output.write_json(found)
        return
    if check:
        output.write(f"checked  {images} images, largest difference {difference:.2g}\n")
    output.write_lines([f"written  {output_file}"])


def _note_left_out(classifier: Classifier) -> None:
    """Say what the exported file does not do, although `cnn predict` does."""
    if classifier.tta is not None:
        rule = f"has augment.tta {classifier.tta}, which is not exported: the file scores one view"
        output.note(f"{classifier.path}: {rule}")
    if classifier.rejects:
        output.note(f"{classifier.path}: refuses images, which is not exported")


def _check_int8(
    int8: bool,
    kind: str,
    calibrate: Path | None,
    split: str | None,
    is_checked: bool,
    is_gated: bool,
) -> None:
    """Refuse options that contradict each other or miss a required one."""
    if split is not None and calibrate is None:
        raise UsageError("--split", "goes with --calibrate DIR")
    if not int8:
        if calibrate is not None or is_gated:
            raise UsageError("--calibrate" if calibrate else "--fail-under", "goes with --int8")
        return
    if kind != ".onnx":
        raise UsageError("--int8", "goes with an --output ending in .onnx")
    if calibrate is None:
        raise UsageError("--int8", "needs --calibrate DIR", "nothing")
    if is_checked:
        raise UsageError(
            "--check", "compares to 1e-4, which int8 cannot reach: goes without --int8"
        )
    from cnn_cli.interop.export.onnx_int8 import check_quantizer

    check_quantizer()


def _quantize(
    content: bytes, classifier: Classifier, folder: Path, split: str
) -> tuple[bytes, AnyJudgement, dict[str, Any]]:
    """Return the int8 network, its metrics, and facts about it and the original.

    Raises:
        DataError: no image can be read, or the folder has no classes.
    """
    from cnn_cli.inference.judging import judge
    from cnn_cli.interop.export.onnx_int8 import evaluate_onnx, quantize

    images = find_images("export", classifier, folder, split)
    small, seen = quantize(content, classifier, images)
    told: dict[str, Any] = {"calibrated_on": seen}
    for name, each in (("before", content), ("after", small)):
        evaluation, bad = evaluate_onnx(each, classifier, images)
        judged = judge(evaluation, classifier.classes, classifier.thresholds)
        told[name] = {"top1": judged.top_k(1), "loss": judged.loss, "bytes": len(each)}
    for error in bad.values():
        output.say(f"cnn: {error.line()}")
    told |= {"images": len(evaluation.labels), "bad": len(bad)}
    return small, judged, told


def _as_text(told: dict[str, Any]) -> str:
    from cnn_cli.report.text.table import format_table

    rows = [
        (kind, f"{each['top1']:.4f}", f"{each['loss']:.4f}", size_text(each["bytes"]))
        for kind, each in (("float32", told["before"]), ("int8", told["after"]))
    ]
    ranges = f"ranges of {told['calibrated_on']:,} images, scores of {told['images']:,}\n"
    return format_table(("", "top1", "loss", "size"), rows, "lrrr") + ranges
