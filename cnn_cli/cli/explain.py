"""`cnn explain`: draw which parts of an image support a class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.options import Checkpoints, Debug, Json, Threads
from cnn_cli.cli.shared.parameters import Argument, Exit, Option
from cnn_cli.errors import ExitCode, UsageError, printable, suggest
from cnn_cli.metric_names import find_class

if TYPE_CHECKING:
    from cnn_cli.inference.classifier import Classifier
    from cnn_cli.inference.index import Neighbors

NAME = "explain"
TOPK = 5


@command(
    NAME,
    order=60,
    examples=(
        "cnn explain photo.jpg --ckpt runs/small",
        "cnn explain photos/cat/*.jpg --ckpt model.npz --class cat --output why",
        "cnn explain photo.jpg --ckpt model.npz --layer layers.4",
        "cnn explain photo.jpg --ckpt runs/seed --index features.npz --topk 3",
    ),
)
def run(
    ckpt: Checkpoints,
    images: Annotated[
        list[str] | None,
        Argument(
            metavar="IMAGE...",
            parser=values.text,
            help="Images, folders or patterns.",
            show_default=False,
        ),
    ] = None,
    class_name: Annotated[
        str | None,
        Option(
            "--class",
            metavar="NAME",
            parser=values.text,
            help="The class to explain. Default: the predicted class of each image.",
        ),
    ] = None,
    layer: Annotated[
        str | None,
        Option(
            "--layer",
            metavar="NAME",
            parser=values.text,
            help="The layer whose maps are shown, by its name in cnn summary. Default: the "
            "last one before pooling.",
        ),
    ] = None,
    folder: Annotated[
        Path,
        Option(
            "--output",
            "-o",
            metavar="DIR",
            parser=values.path,
            help="The folder to write to; created if needed.",
        ),
    ] = Path("explain"),
    index: Annotated[
        Path | None,
        Option(
            "--index",
            metavar="FILE.npz",
            parser=values.path,
            help="Features that cnn embed wrote, such as those of the training images: show the "
            "most similar images as well.",
        ),
    ] = None,
    topk: Annotated[
        int | None,
        Option(
            "--topk",
            metavar="K",
            parser=values.whole(1, below=21),
            help=f"With --index: number of similar images. Default: {TOPK}.",
        ),
    ] = None,
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Draw heat maps of what the network looks at (Grad-CAM).

    Writes each image in gray under its heat map, bright where the evidence for the class is, and
    sheets of images beside their heat maps. Prints path, class, probability and file; with --index
    also the most similar images, which the sheets show beside them. Unreadable images are listed on
    stderr, and the exit code is 4.
    """
    if not images:
        raise UsageError(NAME, "needs IMAGE", "nothing")
    if "" in images:
        raise UsageError("IMAGE", "must be a path", "an empty one")
    if topk is not None and index is None:
        raise UsageError("--topk", "goes with --index FILE.npz")
    from cnn_cli.data.decode_ahead import decode_stream
    from cnn_cli.data.sources import expand_all
    from cnn_cli.files import check_writable_folder, remove_stale_temporaries
    from cnn_cli.inference.classifier import ONE_VIEW
    from cnn_cli.inference.gradcam import find_layer
    from cnn_cli.inference.opening import open_classifier
    from cnn_cli.report.pictures.explanations import Explanation, Overlays, explain
    from cnn_cli.system import cpu_count

    classifier = open_classifier(ckpt, ONE_VIEW)
    number = _class_number(classifier, class_name)
    nodes = [find_layer(one.graph, layer, str(one.path)) for one in classifier.networks]
    node = nodes[0]
    threads = threads or cpu_count()
    if index is not None and len(classifier.networks) > 1:
        raise UsageError("--index", "goes with one network", len(classifier.networks))
    check_writable_folder(folder)
    remove_stale_temporaries(folder)
    title = f"Grad-CAM of {node.name} ({node.layer.kind})"
    overlays = Overlays(folder, title, str(classifier.path))
    results: list[Explanation] = []
    pre = classifier.preprocess
    decoded = decode_stream(expand_all(images, output.note, arrays=not pre.is_plain), pre, threads)
    with _neighbors(index, classifier, topk or TOPK, threads) as near:
        for result in explain(classifier, nodes, decoded, number, overlays, threads, near):
            results.append(result)
            if result.error is not None:
                output.say(f"cnn: {result.error.line()}")
            elif not json:
                cells = (result.path, result.label, f"{result.prob:.6f}", result.file)
                paths = (path for path, _ in result.similar or ())
                output.write("\t".join(printable(str(cell)) for cell in (*cells, *paths)) + "\n")
    if json:
        document = {"layer": node.name, "sheets": overlays.files}
        output.write_json(document | {"images": [result.as_dict() for result in results]})
    elif overlays.files:
        output.say(f"cnn: images beside their heat maps: {', '.join(overlays.files)}")
    if any(result.error is not None for result in results):
        raise Exit(ExitCode.DATA)


@contextmanager
def _neighbors(
    index: Path | None, classifier: Classifier, count: int, threads: int
) -> Iterator[Neighbors | None]:
    """Return a search for similar images; None without an index."""
    if index is None:
        yield None
        return
    from cnn_cli.inference.index import Index, Neighbors

    opened = Index.open(index)
    with classifier.engine(1) as engine:
        embed = opened.embedder_of(str(index), classifier, engine)
        yield Neighbors(opened, embed, count, threads)


def _class_number(classifier: Classifier, name: str | None) -> int | None:
    if name is None:
        return None
    number = find_class(name, classifier.classes)
    if number is None:
        rule = f"must be a class that the model has.{suggest(name, classifier.classes)}"
        raise UsageError("--class", rule, repr(name))
    return number
