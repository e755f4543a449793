"""`cnn explain`: which parts of a picture speak for a class."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.options import Checkpoint, Debug, Json, Threads
from cnn_cli.errors import ExitCode, UsageError, printable, suggest

if TYPE_CHECKING:
    from cnn_cli.data.decode import ImageError, Pixels
    from cnn_cli.inference.classifier import Classifier
    from cnn_cli.nn.attribution import Attribution
    from cnn_cli.report.pictures.sheet import Tile

    Decoded = tuple[str, Pixels | ImageError]

NAME = "explain"
BATCH = 16
ON_A_SHEET = 24
COLUMNS = 2
LEAST_SIDE = 224  # of an overlay, in pixels


@dataclass(frozen=True, slots=True)
class Explained:
    """An image, the class that was asked for, its probability, and where the overlay is.

    Attributes:
        error: why there is none.
    """

    path: str
    label: str | None = None
    prob: float | None = None
    file: str | None = None
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        if self.error is not None:
            return {"path": self.path, "error": self.error}
        return {"path": self.path, "label": self.label, "prob": self.prob, "file": self.file}


@command(
    NAME,
    order=60,
    examples=(
        "cnn explain photo.jpg --ckpt runs/small",
        "cnn explain photos/cat/*.jpg --ckpt model.npz --class cat --output why",
        "cnn explain photo.jpg --ckpt model.npz --layer layers.4",
    ),
)
def run(
    ckpt: Checkpoint,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE...",
            parser=values.text,
            help="Images, folders or patterns.",
            show_default=False,
        ),
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="NAME",
            parser=values.text,
            help="Which class; by default the one that each image is taken for.",
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer",
            metavar="NAME",
            parser=values.text,
            help="Whose maps, by its name in cnn summary; by default the last ones before pooling.",
        ),
    ] = None,
    folder: Annotated[
        Path,
        typer.Option(
            "--output",
            metavar="DIR",
            parser=values.path("--output"),
            help="Where the pictures go; it is made where there is none.",
        ),
    ] = Path("explain"),
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show which parts of a picture speak for a class, by Grad-CAM.

    Writes each picture in grey under its heat map, bright where much speaks for the class, and
    sheets of pictures beside their heat maps. Prints path, class, probability and file. An image
    that cannot be read is named on stderr; the others are done, and the exit code is 4.
    """
    if not images:
        raise UsageError(NAME, "needs IMAGE", "nothing")
    if "" in images:
        raise UsageError("IMAGE", "must be a path", "an empty one")
    from cnn_cli.data.decode_ahead import decode_stream
    from cnn_cli.data.sources import expand_sources
    from cnn_cli.files import check_writable_folder, remove_stale_temporaries
    from cnn_cli.inference.classifier import Classifier
    from cnn_cli.inference.gradcam import find_layer
    from cnn_cli.system import cpu_count

    classifier = Classifier.load(ckpt)
    number = _class_number(classifier, class_name)
    node = find_layer(classifier.graph, layer, str(classifier.path))
    check_writable_folder(folder)
    remove_stale_temporaries(folder)
    threads = threads or cpu_count()
    pages = _Pages(folder, f"Grad-CAM of {node.name} ({node.layer.kind})", str(classifier.path))
    results: list[Explained] = []
    decoded = decode_stream(expand_sources(images), classifier.preprocess, threads)
    with classifier.engine(threads) as engine:
        attribution = engine.attribution(node.index)
        while batch := list(islice(decoded, BATCH)):
            for result in _explain(classifier, attribution, batch, number, pages):
                results.append(result)
                if not json and result.error is None:
                    cells = (result.path, result.label, f"{result.prob:.6f}", result.file)
                    output.write("\t".join(printable(str(cell)) for cell in cells) + "\n")
            output.flush()
    pages.finish()
    if json:
        document = {"layer": node.name, "sheets": pages.files}
        output.write(
            output.json_line(document | {"images": [result.as_dict() for result in results]}) + "\n"
        )
    elif pages.files:
        output.say(f"cnn: pictures beside their heat maps: {', '.join(pages.files)}")
    if any(result.error is not None for result in results):
        raise typer.Exit(ExitCode.DATA)


def _class_number(classifier: Classifier, name: str | None) -> int | None:
    if name is None:
        return None
    if name not in classifier.classes:
        rule = f"must be a class that the model has.{suggest(name, classifier.classes)}"
        raise UsageError("--class", rule, repr(name))
    return classifier.classes.index(name)


def _explain(
    classifier: Classifier,
    attribution: Attribution,
    batch: list[Decoded],
    number: int | None,
    pages: _Pages,
) -> Iterator[Explained]:
    """Write the overlays of some images, in their order; name those that could not be read."""
    import numpy as np

    from cnn_cli.data.decode import ImageError
    from cnn_cli.inference.gradcam import heat_maps
    from cnn_cli.report.pictures.overlay import overlay
    from cnn_cli.report.pictures.paper import enlarged

    pixels = [image for _, image in batch if not isinstance(image, ImageError)]
    rows = iter(range(len(pixels)))
    if pixels:
        classes = None if number is None else np.full(len(pixels), number)
        found = attribution(np.stack(pixels), classes)
        heats, probabilities = heat_maps(found), classifier.probabilities(found.logits)
    for path, image in batch:
        if isinstance(image, ImageError):
            output.say(f"cnn: {image.line()}")
            yield Explained(path, error=image.message)
            continue
        row = next(rows)
        label = classifier.classes[found.classes[row]]
        prob = round(float(probabilities[row, found.classes[row]]), 8)
        picture = enlarged(image, LEAST_SIDE)
        above = enlarged(overlay(np.asarray(picture), heats[row]), LEAST_SIDE)
        file = pages.add(path, label, prob, picture, above)
        yield Explained(path, label, prob, file)


class _Pages:
    """The files of one call: an overlay an image, and sheets of them.

    Attributes:
        files: the sheets.
    """

    def __init__(self, folder: Path, title: str, subtitle: str) -> None:
        self.files: list[str] = []
        self._folder = folder
        self._title = title
        self._subtitle = subtitle
        self._taken: set[str] = set()
        self._tiles: list[Tile] = []

    def add(self, path: str, label: str, prob: float, picture: Any, above: Any) -> str:
        """Write an overlay; the file's path."""
        from cnn_cli.files import write_atomic
        from cnn_cli.report.pictures.paper import png
        from cnn_cli.report.pictures.sheet import Tile

        file = self._folder / self._name(path, label)
        write_atomic(file, png(above))
        lines = ((label, f" {prob:.4f}"), (Path(path).stem, Path(path).suffix))
        self._tiles.append(Tile((picture, above), lines))
        if len(self._tiles) == ON_A_SHEET:
            self.finish()
        return str(file)

    def finish(self) -> None:
        """Write the tiles that have come since the last sheet."""
        from cnn_cli.files import write_atomic
        from cnn_cli.report.pictures.sheet import sheet_png

        if not self._tiles:
            return
        number = len(self.files) + 1
        file = self._folder / ("sheet.png" if number == 1 else f"sheet-{number}.png")
        write_atomic(file, sheet_png(self._tiles, COLUMNS, self._title, self._subtitle))
        self.files.append(str(file))
        self._tiles = []

    def _name(self, path: str, label: str) -> str:
        """`<image>-<class>.png`, with a number where two images would have the same."""
        stem = re.sub(r"[^\w.-]+", "_", f"{Path(path).stem}-{label}")[:120]
        name, number = stem, 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._taken.add(name.casefold())
        return f"{name}.png"
