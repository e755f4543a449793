"""`cnn average`: average the weights of several checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.options import IMAGES, Backend, Debug, Json, NewCheckpoint, Threads
from cnn_cli.cli.shared.parameters import Argument, Option
from cnn_cli.errors import UsageError

NAME = "average"


@command(
    NAME,
    order=85,
    examples=(
        "cnn average runs/small runs/small-2 --output soup.npz",
        "cnn average runs/seed model.npz --data photos --output soup.npz",
    ),
)
def run(
    ckpts: Annotated[
        list[Path] | None,
        Argument(
            metavar="CKPT...",
            parser=values.path,
            help="Two or more checkpoints (.npz) or run folders of the same network.",
            show_default=False,
        ),
    ] = None,
    output_file: NewCheckpoint = None,
    data: Annotated[
        Path | None,
        Option(
            "--data",
            metavar="DIR",
            parser=values.path,
            help=f"Images to measure batch normalization on. {IMAGES} Default: the first "
            "checkpoint's.",
        ),
    ] = None,
    threads: Threads = None,
    backend: Backend = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Average the weights of several checkpoints: a model soup.

    The checkpoints must share the network and the initial weights they were fine-tuned from. The
    mean is an ordinary checkpoint. Batch normalization statistics are measured again on up to 2,048
    training images; if these are gone, or the layers were frozen, they are averaged too.
    """
    if not ckpts:
        raise UsageError(NAME, "needs CKPT", "nothing")
    if output_file is None:
        raise UsageError(NAME, "needs --output FILE.npz", "nothing")
    output.check_output(output_file)
    from cnn_cli.runs.checkpoint import save_checkpoint
    from cnn_cli.system import cpu_count
    from cnn_cli.training.soup import average_weights

    soup = average_weights(ckpts, data, threads or cpu_count(), backend, output.note)
    save_checkpoint(output_file, soup.checkpoint)
    for remark in soup.remarks:
        output.note(remark)
    if json:
        members = [str(path) for path in soup.members]
        found = {"output": str(output_file), "checkpoints": members, "images": soup.images}
        output.write_json(found)
        return
    lines = [f"averaged    {len(soup.members)} checkpoints"]
    if soup.images is not None:
        lines.append(f"statistics  of {soup.images:,} training images")
    output.write_lines([*lines, f"written     {output_file}"])
