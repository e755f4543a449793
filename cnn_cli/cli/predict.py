"""`cnn predict`: name what is in pictures, one after the other, however many there are."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Protocol

import typer

from cnn_cli import safe_csv, strict_json
from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.options import BatchSize, Checkpoint, Debug, Threads, backend_option
from cnn_cli.cli.shared.streams import listening
from cnn_cli.cli.shared.together import ranks
from cnn_cli.errors import DataError, ExitCode, UsageError, printable, reason

if TYPE_CHECKING:
    from cnn_cli.data.sources import Entry
    from cnn_cli.inference.predictor import Prediction, Predictor

NAME = "predict"
FORMATS = ("text", "json", "jsonl", "csv")


@command(
    NAME,
    order=50,
    ranks=True,
    examples=(
        "cnn predict photo.jpg --ckpt runs/small",
        "cnn predict photos/ 'more/*.png' --ckpt model.npz --format csv --output labels.csv",
        "find . -name '*.jpg' -print0 | cnn predict --from-file - -0 --ckpt model.npz --json",
        "cnn predict --watch inbox --ckpt model.npz",
    ),
)
def run(
    ckpt: Checkpoint,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]...",
            parser=values.text,
            help="Images, folders, patterns, or - for an image on stdin.",
            show_default=False,
        ),
    ] = None,
    from_file: Annotated[
        str | None,
        typer.Option(
            "--from-file",
            metavar="LIST",
            parser=values.text,
            help="A file with a path a line; - reads them from stdin.",
        ),
    ] = None,
    nul: Annotated[
        bool, typer.Option("-0", help="The paths of LIST end with NUL, as find -print0 writes.")
    ] = False,
    watch: Annotated[
        str | None,
        typer.Option(
            "--watch",
            metavar="DIR",
            parser=values.text,
            help="What is in this folder, then what comes, each picture once it is complete.",
        ),
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="|".join(FORMATS),
            parser=values.choice("--format", FORMATS),
            help="Default: text, a line an image: path, label, probability.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    topk: Annotated[
        int,
        typer.Option(
            "--topk",
            metavar="K",
            parser=values.whole("--topk", 1),
            help="How many classes json and jsonl list; at most all.",
        ),
    ] = 5,
    output_file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            parser=values.path("--output"),
            help="Write there, in one step at the end, and not to stdout.",
        ),
    ] = None,
    min_prob: Annotated[
        float,
        typer.Option(
            "--min-prob",
            metavar="P",
            parser=values.number("--min-prob", 1),
            help="Leave the label empty below this probability.",
        ),
    ] = 0.0,
    batch_size: BatchSize = 64,
    threads: Threads = None,
    backend: Annotated[
        str | None,
        backend_option("numpy; after a thousand images fast, where numba is installed"),
    ] = None,
    debug: Debug = False,
) -> None:
    """Name what is in pictures.

    An image that cannot be read is named on stderr; the others are done, and the exit code is 4.
    """
    sources = sources or []
    _check(sources, from_file, watch, nul, format_name, json)
    if watch is not None:
        _check_watch(bool(sources) or from_file is not None, output_file, json, format_name)
    from cnn_cli.files import write_atomic
    from cnn_cli.inference.classifier import Classifier
    from cnn_cli.inference.predictor import Predictor, decoded_batches
    from cnn_cli.parallel.alike import check_alike
    from cnn_cli.system import cpu_count

    job = ranks()
    writes = job.rank == 0
    classifier = Classifier.load(ckpt)
    if job.size > 1:
        given = {"--ckpt": classifier.digest(), "--topk": topk, "--min-prob": min_prob}
        check_alike(job, NAME, given | {"--backend": backend})
    if output_file is not None and writes:
        output.check_output(output_file)
    few = len(sources) == 1 and from_file is None and not Path(sources[0]).is_dir()
    threads = threads or (1 if few else job.threads(cpu_count()))
    format_ = make_format("json" if json else format_name or "text")
    bad = 0

    def texts(predictor: Predictor, paths: BinaryIO | None) -> Iterator[str]:
        nonlocal bad
        yield format_.start()
        entries = _entries(sources, paths, nul, watch) if writes else iter(())
        for batch in decoded_batches(entries, classifier.preprocess, batch_size, threads, job):
            for rows, errors in job.bring(predictor.predictions(batch, topk, min_prob)):
                for error in errors:
                    output.say(f"cnn: {error.line()}")
                bad += len(errors)
                yield "".join(map(format_.row, rows))
        yield format_.end()

    with (
        _open_list(from_file if writes else None) as paths,
        Predictor(classifier, threads, backend, output.note) as predictor,
    ):
        if output_file is None or not writes:  # of other ranks than 0 there is no text
            for text in texts(predictor, paths):
                output.write(text)
        else:
            write_atomic(output_file, lambda file: _save(file, texts(predictor, paths)))
    if bad:
        raise typer.Exit(ExitCode.DATA)


def _check(
    sources: list[str],
    from_file: str | None,
    watch: str | None,
    nul: bool,
    format_name: str | None,
    json: bool,
) -> None:
    """Refuse what contradicts itself."""
    if not sources and from_file is None and watch is None:
        raise UsageError(NAME, "needs SOURCE, --from-file LIST or --watch DIR", "nothing")
    if "" in sources:
        raise UsageError("SOURCE", "must be a path", "an empty one")
    for option, value in (("--from-file", from_file), ("--watch", watch)):
        if value == "":
            raise UsageError(option, "must be a path", "an empty one")
    if sources.count("-") + (from_file == "-") > 1:
        raise UsageError("-", "stdin can be read once only")
    if nul and from_file is None:
        raise UsageError("-0", "goes with --from-file LIST")
    if json and format_name not in (None, "json"):
        raise UsageError("--json", "is short for --format json", f"--format {format_name} as well")


def _check_watch(
    others: bool, output_file: Path | None, json: bool, format_name: str | None
) -> None:
    if others:
        raise UsageError("--watch", "stands in place of SOURCE and --from-file", "both")
    if output_file is not None:
        raise UsageError("--watch", "has no end, at which --output is written")
    if json or format_name == "json":
        raise UsageError("--watch", "has no end, as an array has; take --format jsonl")


def _entries(
    sources: list[str], paths: BinaryIO | None, nul: bool, watch: str | None
) -> Iterator[Entry | None]:
    """What to read, in order; None where a list or a folder has to be waited for."""
    from cnn_cli.data.sources import expand_list, expand_sources

    if watch is not None:
        from cnn_cli.data.watch import watch_images

        return watch_images(watch)
    entries = expand_sources(sources, _stdin() if "-" in sources else None)
    return entries if paths is None else chain(entries, expand_list(paths, nul))


@contextmanager
def _open_list(path: str | None) -> Iterator[BinaryIO | None]:
    """The file of paths; None without one."""
    if path is None or path == "-":
        yield None if path is None else _stdin()
        return
    try:
        stream = open(path, "rb")  # noqa: SIM115 - closed below; what happens meanwhile is not its error
    except (OSError, ValueError) as error:
        raise DataError(path, "cannot be read", reason(error)) from error
    with stream:
        yield listening(stream)


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise DataError("stdin", "cannot be read", "a closed stream")
    return listening(sys.stdin.buffer)


def _save(file: BinaryIO, texts: Iterable[str]) -> None:
    stream = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
    for text in texts:
        stream.write(text)
        stream.flush()  # to who reads a pipe
    stream.detach()  # else it would close the file, which is not its own


class Format(Protocol):
    """Turns rows into text."""

    def start(self) -> str:
        """What comes first."""

    def row(self, row: Prediction) -> str:
        """A row's text; empty where the format has none for it."""

    def end(self) -> str:
        """What comes last."""


class Text:
    """A line an image: path, label and probability between tabs; failures are left out."""

    def start(self) -> str:
        return ""

    def row(self, row: Prediction) -> str:
        if row.prob is None:
            return ""
        cells = (row.path, row.label or "", f"{row.prob:.6f}")
        return "\t".join(map(printable, cells)) + "\n"

    def end(self) -> str:
        return ""


class JsonLines:
    """A JSON object a line."""

    def start(self) -> str:
        return ""

    def row(self, row: Prediction) -> str:
        return strict_json.dumps(_as_dict(row)) + "\n"

    def end(self) -> str:
        return ""


class JsonArray:
    """The same objects as one array, an element a line."""

    def __init__(self) -> None:
        self._before = "\n"

    def start(self) -> str:
        return "["

    def row(self, row: Prediction) -> str:
        before, self._before = self._before, ",\n"
        return before + strict_json.dumps(_as_dict(row))

    def end(self) -> str:
        return "]\n" if self._before == "\n" else "\n]\n"


class Csv:
    """Comma-separated values under a header; see `safe_csv`."""

    def start(self) -> str:
        return safe_csv.line(("path", "label", "prob", "error"))

    def row(self, row: Prediction) -> str:
        prob = "" if row.prob is None else row.prob
        return safe_csv.line((row.path, row.label or "", prob, row.error or ""))

    def end(self) -> str:
        return ""


def make_format(name: str) -> Format:
    """The format of that name, one of `FORMATS`."""
    kinds: dict[str, Callable[[], Format]] = {
        "text": Text,
        "json": JsonArray,
        "jsonl": JsonLines,
        "csv": Csv,
    }
    return kinds[name]()


def _as_dict(row: Prediction) -> dict[str, Any]:
    if row.error is not None:
        return {"path": row.path, "error": row.error}
    return {
        "path": row.path,
        "label": row.label,
        "prob": row.prob,
        "topk": [{"label": label, "prob": prob} for label, prob in row.topk],
    }
