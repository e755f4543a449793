"""`cnn data check`: find problems in a folder of images before training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.options import Debug, Folder, Json, Labels, Threads
from cnn_cli.cli.shared.parameters import Option
from cnn_cli.errors import DataError

NEAR = 8  # bits of 64: see the measurements in `data.near`
MOST_NEAR = 12  # beyond it, photographs of different things match

EXAMPLES = (
    "cnn data check photos",
    "cnn data check photos --strict && cnn train configs/small.yaml --data photos",
    "cnn data check photos --json",
    "cnn data check photos --near",
)


@command("data check", order=10, examples=EXAMPLES)
def run(
    folder: Folder,
    strict: Annotated[bool, Option("--strict", help="Exit with 4 if anything was found.")] = False,
    near: Annotated[
        int | None,
        Option(
            "--near",
            metavar="[DISTANCE]",
            parser=values.OrAlone(values.whole(below=MOST_NEAR + 1), NEAR),
            help="Find near-duplicates as well: resized, recompressed, slightly cropped. DISTANCE "
            f"is the number of bits, of 64, in which perceptual hashes may differ; default {NEAR}.",
            show_default=False,
        ),
    ] = None,
    labels: Labels = None,
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Check images before training.

    Reads every image, changes nothing, and lists damaged files, duplicates, odd images and class
    mismatches. Exits with 4 if no network can be trained on them.
    """
    from cnn_cli.report.text.data_findings import findings_dict, findings_text

    findings = _check(folder, labels, threads, near)
    for remark in findings.remarks:
        output.note(remark)
    if json:
        output.write_json(findings_dict(findings))
    else:
        output.write(findings_text(findings))
    if findings.error is not None:
        raise findings.error
    if strict and findings.found:
        raise DataError(folder, "must have no findings with --strict", len(findings.found))


def _check(folder: Path, labels: str | None, threads: int | None, near: int | None) -> Any:
    """Check the images, with a bar on a terminal."""
    from cnn_cli.cli.shared.bars import counting
    from cnn_cli.data.check import check_folder
    from cnn_cli.data.roots import separator_of, several_text
    from cnn_cli.system import cpu_count

    separator = separator_of(folder, labels)
    if labels is None and separator is not None:
        output.note(several_text(folder))
    with counting("reading", "images") as shown:
        return check_folder(folder, threads or cpu_count(), shown.reach, near, separator)
