"""`cnn similar`: find the images of an index most similar to another image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.options import Debug, Json, Threads
from cnn_cli.cli.shared.parameters import Argument, Option
from cnn_cli.errors import printable


@command(
    "similar",
    order=56,
    examples=(
        "cnn similar photo.jpg --index features.npz",
        "cnn similar photo.jpg --index features.npz --topk 20 --json",
    ),
)
def run(
    image: Annotated[
        str,
        Argument(metavar="IMAGE", parser=values.text, help="An image.", show_default=False),
    ],
    index: Annotated[
        Path,
        Option(
            "--index",
            metavar="FILE.npz",
            parser=values.path,
            help="The features, written by cnn embed.",
            show_default=False,
        ),
    ],
    topk: Annotated[
        int,
        Option(
            "--topk",
            metavar="K",
            parser=values.whole(1),
            help="Number of images.",
        ),
    ] = 5,
    ckpt: Annotated[
        Path | None,
        Option(
            "--ckpt",
            metavar="FILE",
            parser=values.path,
            help="The checkpoint that made the index, if it was moved.",
        ),
    ] = None,
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Find the images most similar to another image.

    Prints path and cosine similarity, most similar first.
    """
    from cnn_cli.data.decode import load_image
    from cnn_cli.data.image_error import ImageError
    from cnn_cli.inference.classifier import Classifier
    from cnn_cli.inference.index import Index, Neighbors
    from cnn_cli.system import cpu_count

    opened = Index.open(index)
    classifier = Classifier.load(ckpt or opened.meta["checkpoint"])
    with classifier.engine(1) as engine:
        embed = opened.embedder_of(str(index), classifier, engine)
        pixels = load_image(image, classifier.preprocess)
        found = Neighbors(opened, embed, topk, threads or cpu_count())([(image, pixels)])[0]
    if isinstance(found, ImageError):
        raise found
    if json:
        near = [{"path": path, "cosine": round(cosine, 8)} for path, cosine in found]
        output.write_json({"path": image, "similar": near})
    else:
        output.write("".join(f"{printable(path)}\t{cosine:.6f}\n" for path, cosine in found))
