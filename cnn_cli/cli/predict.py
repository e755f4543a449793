"""`cnn predict`: classify any number of images, one after another."""

from __future__ import annotations

import gc
import io
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.options import (
    BatchSize,
    Checkpoints,
    Debug,
    TestTime,
    Threads,
    backend_option,
)
from cnn_cli.cli.shared.output import Progress
from cnn_cli.cli.shared.parameters import Argument, Exit, Option
from cnn_cli.cli.shared.streams import listening
from cnn_cli.cli.shared.together import ranks
from cnn_cli.errors import DataError, ExitCode, UsageError, reason
from cnn_cli.structs import replace

if TYPE_CHECKING:
    from cnn_cli.cli.shared.acting import Acts
    from cnn_cli.data.sources import Entry
    from cnn_cli.inference.acting import Acting
    from cnn_cli.inference.classifier import Classifier
    from cnn_cli.inference.predictor import Predictor
    from cnn_cli.inference.sorting import How

NAME = "predict"
FORMATS = ("text", "json", "jsonl", "csv")
TOPK = 5


@command(
    NAME,
    order=50,
    ranks=True,
    brief=True,
    examples=(
        "cnn predict photo.jpg --ckpt runs/small",
        "cnn predict photos/ 'more/*.png' --ckpt model.npz --format csv -o labels.csv",
        "find . -name '*.jpg' -print0 | cnn predict --from-file - -0 --ckpt model.npz",
        "cnn predict photos --ckpt model.npz --sort-into sorted --move --dry-run",
        "cnn predict photo.jpg --ckpt runs/small --ckpt runs/small-2",
        "cnn predict --watch inbox --ckpt model.npz --append labels.jsonl",
    ),
)
def run(
    ckpt: Checkpoints,
    sources: Annotated[
        list[str] | None,
        Argument(
            metavar="[SOURCE]...",
            parser=values.text,
            help="Images, folders, patterns, or - for one image on stdin.",
            show_default=False,
        ),
    ] = None,
    from_file: Annotated[
        str | None,
        Option(
            "--from-file",
            metavar="LIST",
            parser=values.text,
            help="A file with one path per line; - reads paths from stdin.",
        ),
    ] = None,
    nul: Annotated[
        bool, Option("-0", help="Paths in LIST end with NUL, as find -print0 writes them.")
    ] = False,
    watch: Annotated[
        str | None,
        Option(
            "--watch",
            metavar="DIR",
            parser=values.text,
            help="Classify the images in this folder, then each new image once it is complete.",
        ),
    ] = None,
    sort_into: Annotated[
        Path | None,
        Option(
            "--sort-into",
            metavar="DIR",
            parser=values.path,
            help="Put each image into a folder named after its class. Existing files are "
            "never overwritten.",
        ),
    ] = None,
    copy: Annotated[bool, Option("--copy", help="With --sort-into: copy (default).")] = False,
    link: Annotated[
        bool,
        Option(
            "--link",
            help="With --sort-into: make hard links, or symbolic links across file systems.",
        ),
    ] = False,
    move: Annotated[bool, Option("--move", help="With --sort-into: move the images.")] = False,
    append: Annotated[
        Path | None,
        Option(
            "--append",
            parser=values.FileOf(".csv", ".jsonl"),
            help="Append to this file, and skip images that it already lists.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        Option(
            "--dry-run",
            help="With --sort-into or --append: print what would be done, without changing "
            "any file.",
        ),
    ] = False,
    format_name: Annotated[
        str | None,
        Option(
            "--format",
            parser=values.OneWord(FORMATS),
            help="Output format. Default: text, one line per image: path, label, probability.",
        ),
    ] = None,
    json: Annotated[bool, Option("--json", help="The same as --format json.")] = False,
    topk: Annotated[
        int | None,
        Option(
            "--topk",
            metavar="K",
            parser=values.whole(1),
            help=f"Number of classes to list in json, jsonl and csv. Default: {TOPK}, in csv none.",
        ),
    ] = None,
    probs: Annotated[bool, Option("--probs", help="Add the probabilities of all classes.")] = False,
    output_file: Annotated[
        Path | None,
        Option(
            "--output",
            "-o",
            metavar="FILE",
            parser=values.path,
            help="Write to this file, in one step at the end, instead of stdout.",
        ),
    ] = None,
    min_prob: Annotated[
        float,
        Option(
            "--min-prob",
            metavar="P",
            parser=values.number(1),
            help="Leave the label empty below this probability.",
        ),
    ] = 0.0,
    tta: TestTime = None,
    batch_size: BatchSize = 64,
    threads: Threads = None,
    backend: Annotated[
        str | None,
        backend_option("numpy; after a thousand images fast, if numba is installed"),
    ] = None,
    debug: Debug = False,
) -> None:
    """Classify images.

    Unreadable images are listed on stderr; the others are classified, and the exit code is 4.
    """
    sources = sources or []
    format_name = _check(sources, from_file, watch, nul, format_name, json, output_file)
    acts = None
    if sort_into is not None or append is not None or dry_run or copy or link or move:
        from cnn_cli.cli.shared.acting import check_acts, file_format, opened

        looked_through = sources if watch is None else [watch]
        ways: dict[How, bool] = {"copy": copy, "link": link, "move": move}
        acts = check_acts(
            sort_into, ways, append, dry_run, looked_through, output_file, format_name
        )
        format_name = file_format(append) if append is not None else format_name
    from cnn_cli.inference.prediction_formats import Columns, make_format
    from cnn_cli.inference.predictor import Predictor, decoded_batches
    from cnn_cli.parallel.alike import check_alike
    from cnn_cli.system import cpu_count

    job = ranks()
    writes = job.rank == 0
    classifier = _load(ckpt, tta, sort_into)
    if job.size > 1:
        given = {"--ckpt": classifier.digest(), "--topk": topk, "--min-prob": min_prob}
        words = {"--tta": classifier.tta_text, "--backend": backend}
        check_alike(job, NAME, given | words | {"--probs": probs})
    if output_file is not None and writes:
        output.check_output(output_file)
    brief = _is_brief(sources, from_file)
    threads = threads or (1 if brief else job.threads(cpu_count()))
    columns = Columns(
        topk=min(topk or 0, len(classifier.classes)),
        probs=classifier.classes if probs else (),
        stamp=append is not None,
        rejects=classifier.rejects,
        separator="|" if classifier.several is None else classifier.several.separator,
    )
    format_ = make_format(_format(format_name, topk), replace(columns, file=sort_into is not None))
    bad = 0

    def texts(
        predictor: Predictor, paths: BinaryIO | None, acting: Acting | None, shown: Progress
    ) -> Iterator[str]:
        nonlocal bad
        yield format_.start()
        arrays = not classifier.preprocess.is_plain
        entries = _entries(sources, paths, nul, watch, arrays, shown.note) if writes else iter(())
        if acting is not None:
            entries = acting.to_do(entries)
        for batch in decoded_batches(entries, classifier.decoding, batch_size, threads, job):
            answers = predictor.predictions(batch, topk or TOPK, min_prob, probs)
            for rows, errors in job.bring(answers):
                for error in errors:
                    shown.say(f"cnn: {error.line()}")
                bad += len(errors)
                shown.add(len(rows))
                yield "".join(map(format_.row, rows if acting is None else acting.done(rows)))
        yield format_.end()
        bad += 0 if acting is None else acting.bad

    with (
        _progress(acts, output_file, hidden=brief or not writes or watch is not None) as shown,
        _open_list(from_file if writes else None) as paths,
        Predictor(classifier, threads, backend, shown.note) as predictor,
        nullcontext()
        if acts is None or not writes
        else opened(acts, columns, classifier.classes, shown.say) as acting,
    ):
        results = texts(predictor, paths, acting, shown)
        if acts is not None and not acts.is_told:
            deque(results, 0)
        else:  # ranks other than 0 have no text
            _deliver(results, output_file if writes else None)
    if bad:
        raise Exit(ExitCode.DATA)


def _is_brief(sources: list[str], from_file: str | None) -> bool:
    """Whether there is only a single image; otherwise garbage collection is enabled."""
    from cnn_cli.data.sources import holds_images

    brief = len(sources) == 1 and from_file is None and not holds_images(sources[0])
    if not brief:
        gc.enable()
    return brief


def _check(
    sources: list[str],
    from_file: str | None,
    watch: str | None,
    nul: bool,
    format_name: str | None,
    json: bool,
    output_file: Path | None,
) -> str | None:
    """Refuse options that contradict each other; return the requested format."""
    if not sources and from_file is None and watch is None:
        raise UsageError(NAME, "needs SOURCE, --from-file LIST or --watch DIR", "nothing")
    if "" in sources:
        raise UsageError("SOURCE", "must be a path", "an empty one")
    for option, value in (("--from-file", from_file), ("--watch", watch)):
        if value == "":
            raise UsageError(option, "must be a path", "an empty one")
    if sources.count("-") + (from_file == "-") > 1:
        raise UsageError("-", "stdin can be read only once")
    if nul and from_file is None:
        raise UsageError("-0", "goes with --from-file LIST")
    if json and format_name not in (None, "json"):
        raise UsageError("--json", "is short for --format json", f"--format {format_name} as well")
    name = "json" if json else format_name
    if watch is not None and (sources or from_file is not None):
        raise UsageError("--watch", "replaces SOURCE and --from-file", "both")
    if watch is not None and name == "json":
        raise UsageError("--watch", "never ends, and a JSON array must; use --format jsonl")
    if watch is not None and output_file is not None:
        rule = "never ends, so --output would never be written; use --append"
        raise UsageError("--watch", rule)
    return name


def _format(name: str | None, topk: int | None) -> str:
    """Return the format, text by default; refuse `--topk` for it, which shows one class."""
    if topk is not None and name in (None, "text"):
        raise UsageError("--topk", "goes with --format json, jsonl or csv", "text")
    return name or "text"


def _load(ckpt: list[Path], tta: str | None, folder: Path | None) -> Classifier:
    """Load the model; refuse to sort into folders if an image may have several labels."""
    from cnn_cli.inference.opening import open_classifier

    classifier = open_classifier(ckpt, tta)
    if folder is not None and classifier.several is not None:
        rule = "needs a model with one label per image"
        raise UsageError("--sort-into", rule, str(classifier.path))
    return classifier


def _entries(
    sources: list[str],
    paths: BinaryIO | None,
    nul: bool,
    watch: str | None,
    arrays: bool,
    note: Callable[[str], object],
) -> Iterator[Entry | None]:
    """Yield the entries to read, in order; None while waiting for a list or folder.

    At the end, the number of skipped files is noted.
    """
    from cnn_cli.data.listing import left_out_text
    from cnn_cli.data.sources import expand_list, expand_sources

    if watch is not None:
        from cnn_cli.data.watch import watch_images

        yield from watch_images(watch)
    left_out: Counter[str] = Counter()
    yield from expand_sources(
        sources, _stdin() if "-" in sources else None, left_out, arrays=arrays
    )
    if paths is not None:
        yield from expand_list(paths, nul, left_out, arrays=arrays)
    if left_out:
        note(left_out_text(left_out))


def _progress(
    acts: Acts | None, output_file: Path | None, *, hidden: bool
) -> AbstractContextManager[Progress]:
    """Count images on a bar, unless a terminal shows the predictions themselves."""
    answers = output_file is None and (acts is None or acts.is_told)
    on_screen = answers and output.terminal_size() is not None
    if hidden or on_screen or not sys.stderr.isatty():
        return nullcontext(Progress())
    from cnn_cli.cli.shared.bars import counting

    return counting("predicting", "images")


@contextmanager
def _open_list(path: str | None) -> Iterator[BinaryIO | None]:
    """Open the file of paths; None without one."""
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


def _deliver(texts: Iterable[str], output_file: Path | None) -> None:
    from cnn_cli.files import write_atomic

    if output_file is not None:
        write_atomic(output_file, lambda file: _save(file, texts))
        return
    for text in texts:
        output.write(text)


def _save(file: BinaryIO, texts: Iterable[str]) -> None:
    stream = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
    for text in texts:
        stream.write(text)
        stream.flush()  # to the reader of a pipe
    stream.detach()  # otherwise it would close a file that it does not own
