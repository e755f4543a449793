"""`cnn init`: propose a config for a folder of images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from cnn_cli import strict_json
from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.bars import elapsing
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.options import Backend, Debug, Folder, Json, Labels, Threads
from cnn_cli.cli.shared.parameters import Option
from cnn_cli.errors import UsageError
from cnn_cli.files import descriptor_of


@command(
    "init",
    order=10,
    examples=(
        "cnn init photos",
        "cnn init photos --budget 1h --output configs/photos.yaml",
        "cnn init photos --overwrite && cnn train photos.yaml",
    ),
)
def run(
    folder: Folder,
    output_file: Annotated[
        Path | None,
        Option(
            "--output",
            "-o",
            metavar="FILE",
            parser=values.path,
            help="The config to write. Default: DIR's name with .yaml.",
        ),
    ] = None,
    budget: Annotated[
        float,
        Option(
            "--budget",
            metavar="TIME",
            parser=values.duration,
            help="Time that training may take: 90s, 10m, 1h30m.",
        ),
    ] = "10m",  # type: ignore[assignment]  # read by the parser, and shown in the help
    start: Annotated[
        str | None,
        Option(
            "--from",
            metavar="scratch|NAME",
            parser=values.text,
            help="Start from random weights, or from pretrained weights by name (cnn "
            "import --list). Default: installed weights for color photographs, else "
            "scratch.",
        ),
    ] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace an existing config.")] = False,
    labels: Labels = None,
    threads: Threads = None,
    backend: Backend = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Propose a config for a folder of images.

    Reads a sample of the images and times some networks for a few seconds, to find how many epochs
    fit the budget on this computer.
    """
    from cnn_cli.data.roots import plain_name

    named = folder if folder.name not in ("", "..") else folder.resolve()
    file = output_file or Path(f"{plain_name(named) or 'pictures'}.yaml")
    if descriptor_of(file) is None and file.is_file() and not overwrite:
        raise UsageError(file, "already exists; give --overwrite, or another --output FILE")
    output.check_output(file)
    from cnn_cli.files import write_atomic
    from cnn_cli.nn.backends import choose_backend
    from cnn_cli.proposal.measure import measure
    from cnn_cli.proposal.propose import propose
    from cnn_cli.report.text.proposal_text import proposal_dict, proposal_text
    from cnn_cli.system import cpu_count

    options = "" if threads is None else f" --threads {threads}"
    options += "" if backend is None else f" --backend {backend}"
    threads = threads or cpu_count()
    with elapsing("looking at the images") as shown:
        proposal = propose(
            folder,
            file,
            budget,
            threads,
            partial(measure, threads=threads, backend=choose_backend(backend), note=shown.note),
            options,
            shown.title,
            start,
            labels,
        )
    for remark in proposal.survey.remarks:
        output.note(remark)
    write_atomic(file, proposal.text.encode())
    if json:
        output.write_about(file, strict_json.dumps(proposal_dict(proposal, file)) + "\n")
    else:
        output.write_about(file, proposal_text(proposal, file, budget))
