"""`cnn embed`: write feature vectors of images, for comparing or clustering."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.options import BatchSize, Checkpoint, Debug, Threads, backend_option
from cnn_cli.cli.shared.parameters import Argument, Exit, Option
from cnn_cli.errors import CnnError, DataError, ExitCode, UsageError, listed

if TYPE_CHECKING:
    from cnn_cli.nn.types import Array

NAME = "embed"


@command(
    NAME,
    order=54,
    examples=(
        "cnn embed photos --ckpt runs/small --output features.npz",
        "cnn embed photos/cat/*.jpg --ckpt model.npz --layer layers.8 -o features.csv",
    ),
)
def run(
    ckpt: Checkpoint,
    output_file: Annotated[
        Path,
        Option(
            "--output",
            "-o",
            parser=values.FileOf(".npz", ".csv"),
            help="The file to write. cnn similar reads .npz.",
            show_default=False,
        ),
    ],
    sources: Annotated[
        list[str] | None,
        Argument(
            metavar="SOURCE...",
            parser=values.text,
            help="Images, folders or patterns.",
            show_default=False,
        ),
    ] = None,
    layer: Annotated[
        str | None,
        Option(
            "--layer",
            metavar="NAME",
            parser=values.text,
            help="The layer whose output is written, by its name in cnn summary. Default: "
            "the input of the last layer.",
        ),
    ] = None,
    batch_size: BatchSize = 64,
    threads: Threads = None,
    backend: Annotated[str | None, backend_option("numpy")] = None,
    debug: Debug = False,
) -> None:
    """Write feature vectors of images: the input of the last layer.

    With --layer, a layer's map is averaged over its pixels. Unreadable images are listed on stderr
    and skipped, and the exit code is 4.
    """
    if not sources:
        raise UsageError(NAME, "needs SOURCE", "nothing")
    if "" in sources:
        raise UsageError("SOURCE", "must be a path", "an empty one")
    from cnn_cli.data.sources import expand_all
    from cnn_cli.files import write_atomic
    from cnn_cli.inference.classifier import Classifier
    from cnn_cli.inference.embedding import Embedder, csv_lines, embedded
    from cnn_cli.inference.index import index_meta, write_index
    from cnn_cli.inference.predictor import decoded_batches
    from cnn_cli.parallel.ranks import ALONE
    from cnn_cli.system import cpu_count

    classifier = Classifier.load(ckpt)
    output.check_output(output_file)
    threads = threads or cpu_count()
    bad = 0

    def tell(error: CnnError) -> None:
        nonlocal bad
        bad += 1
        output.say(f"cnn: {error.line()}")

    with classifier.engine(threads, backend or "numpy", output.note) as engine:
        embedder = Embedder(classifier, engine, layer)
        pre = classifier.preprocess
        entries = expand_all(sources, output.note, arrays=not pre.is_plain)
        batches = decoded_batches(iter(entries), pre, batch_size, threads, ALONE)
        found = _at_least_one(embedded(embedder, batches, tell), sources)

        def write(file: BinaryIO) -> None:
            if output_file.suffix.lower() == ".npz":
                write_index(file, found, index_meta(classifier, layer), output_file.parent)
            else:
                _write_lines(file, csv_lines(found))

        write_atomic(output_file, write)
    output.write_about(output_file, f"written  {output_file}\n")
    if bad:
        raise Exit(ExitCode.DATA)


def _at_least_one(
    found: Iterator[tuple[list[str], Array]], sources: list[str]
) -> Iterator[tuple[list[str], Array]]:
    """Yield `found`, of which there must be something: otherwise an older file is kept.

    Raises:
        DataError: there is nothing.
    """
    first = next(found, None)
    if first is None:
        raise DataError(listed(sources), "must hold a readable image", "none")
    yield first
    yield from found


def _write_lines(file: BinaryIO, lines: Iterator[str]) -> None:
    stream = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
    stream.writelines(lines)
    stream.flush()
    stream.detach()  # otherwise it would close a file that it does not own
