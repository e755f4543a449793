"""The images on the page: confident mistakes, uncertain correct predictions, first filters."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cnn_cli.arithmetic import ceil_div
from cnn_cli.data.decode import load_image
from cnn_cli.data.depth import Pixels
from cnn_cli.data.image_error import ImageError
from cnn_cli.errors import DataError
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.gradcam import find_layer, heat_maps
from cnn_cli.nn.types import Array
from cnn_cli.report.html.elements import heading, paragraph
from cnn_cli.report.html.subject import Measured, MeasuredLabels
from cnn_cli.report.html.template import Markup, Templates
from cnn_cli.report.pictures.overlay import overlay
from cnn_cli.report.pictures.paper import enlarged, png

MOST = 12  # images of each kind
LEAST_SIDE, MOST_SIDE = 168, 224  # side of an image in pixels
QUALITY = 85
FILTERS = 256  # largest number of filters drawn
FILTER_SIDE, FILTER_GAP, FILTER_COLUMNS = 40, 4, 16

_GALLERY = Templates("gallery.html")


@dataclass(frozen=True, slots=True)
class GalleryImage:
    """An image to show.

    Attributes:
        row: its row in the evaluation.
        pixels: (h, w, channels), as the network receives it.
    """

    row: int
    pixels: Pixels


def galleries(classifier: Classifier, measured: Measured, threads: int) -> list[Markup]:
    """Return the most confident mistakes and the least confident correct predictions, with heat
    maps.

    Args:
        classifier: the classifier.
        measured: its evaluation.
        threads: threads that compute the heat maps.
    """
    evaluation = measured.evaluation
    right, guesses = evaluation.right, evaluation.guesses
    mistakes = first_rows(np.flatnonzero(~right), -evaluation.confidences)
    hits = first_rows(np.flatnonzero(right), evaluation.confidences)
    chosen = [load_shown(classifier, measured, rows) for rows in (mistakes, hits)]
    everything = [one for some in chosen for one in some]
    heats, layer = heats_of(classifier, everything, guesses, threads)
    note = (
        f"The heat map beside each is the Grad-CAM of {layer}: bright where the evidence for the "
        "predicted class is."
        if heats is not None
        else "No layer has a map for Grad-CAM."
    )
    parts = [paragraph(f"{note} Images are as the network sees them.")]
    for title, nothing, some in (
        ("The most confident mistakes", "No image was misclassified.", chosen[0]),
        ("The least certain correct predictions", "No image was classified correctly.", chosen[1]),
    ):
        parts.append(heading(title))
        tiles = [
            _tile(classifier, measured, one, None if heats is None else heats[one.row])
            for one in some
        ]
        parts.append(gallery(tiles) if tiles else paragraph(nothing))
    return parts


def gallery(tiles: Sequence[Markup]) -> Markup:
    """Arrange tiles in a grid."""
    return _GALLERY.fill("gallery", tiles=tiles)


def first_rows(rows: Array, key: Array) -> list[int]:
    """Return the rows with the smallest keys."""
    return [int(row) for row in rows[np.argsort(key[rows], kind="stable")][:MOST]]


def load_shown(
    classifier: Classifier, measured: Measured | MeasuredLabels, rows: list[int]
) -> list[GalleryImage]:
    """Load the images; those that no longer exist are left out."""
    found = []
    for row in rows:
        path = measured.images.paths[int(measured.evaluation.indices[row])]
        try:
            found.append(GalleryImage(row, load_image(path, classifier.preprocess)))
        except ImageError:
            continue
    return found


def heats_of(
    classifier: Classifier, shown: list[GalleryImage], guesses: Array, threads: int
) -> tuple[dict[int, Array] | None, str]:
    """Return heat maps by row, for one class per image, and the name of the layer.

    Args:
        classifier: the classifier.
        shown: the images.
        guesses: (n,) the classes, for all images of the evaluation.
        threads: threads that compute the heat maps.
    """
    try:
        node = find_layer(classifier.graph, None, str(classifier.path))
    except DataError:
        return None, ""
    if not shown:
        return {}, node.name
    rows = [one.row for one in shown]
    with classifier.engine(threads) as engine:
        found = engine.attribution(node.index)(
            np.stack([one.pixels for one in shown]), guesses[rows]
        )
    return dict(zip(rows, heat_maps(found), strict=True)), f"{node.name} ({node.layer.kind})"


def _tile(
    classifier: Classifier, measured: Measured, shown: GalleryImage, heat: Array | None
) -> Markup:
    evaluation, names = measured.evaluation, classifier.classes
    row = shown.row
    label, guess = int(evaluation.labels[row]), int(evaluation.guesses[row])
    confidence = evaluation.confidences[row]
    if label == guess:
        second, next_best = int(evaluation.seconds[row]), evaluation.second_probabilities[row]
        words = f" {confidence:.4f}, then {names[second]} {next_best:.4f}"
    else:
        own = evaluation.label_probabilities[row]
        words = f" {own:.4f}, predicted {names[guess]} {confidence:.4f}"
    path = measured.shown_path(row)
    alt = f"an image of {names[label]}"
    return tile(shown.pixels, heat, alt, names[guess], names[label], words, path)


def tile(
    pixels: Pixels, heat: Array | None, alt: str, asked: str, name: str, words: str, path: str
) -> Markup:
    """Return an image beside its heat map, with text below.

    Args:
        pixels: the image.
        heat: its heat map, or None.
        alt: the alternative text.
        asked: the class of the heat map.
        name, words, path: text below.
    """
    picture = enlarged(pixels, LEAST_SIDE)
    images = [_image(picture, alt)]
    if heat is not None:
        over = Image.fromarray(overlay(np.asarray(picture), heat))
        images.append(_image(over, f"Grad-CAM heat map for {asked}"))
    return _GALLERY.fill("tile", images=images, name=name, words=words, path=path)


def _image(image: Image.Image, alt: str) -> Markup:
    image.thumbnail((MOST_SIDE, MOST_SIDE))
    return _GALLERY.fill(
        "image", source=data_uri(image), alt=alt, width=image.width, height=image.height
    )


def data_uri(image: Image.Image) -> str:
    """Encode an image as a data URI, as PNG or JPEG, whichever is smaller."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    kinds = {"png": png(image), "jpeg": file.getvalue()}
    kind = min(kinds, key=lambda name: len(kinds[name]))
    return _uri(kind, kinds[kind])


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def filters(classifier: Classifier) -> list[Markup]:
    """Draw the filters of the first convolution, in color if the input is RGB."""
    node = next((node for node in classifier.graph.nodes if node.layer.kind == "conv"), None)
    if node is None:
        return [paragraph("The network has no convolution.")]
    weight = classifier.params.named()[f"{node.name}/weight"]
    count, channels, height, width = weight.shape
    drawn = _drawn(weight[:FILTERS])
    few = f"The first {FILTERS} of {count:,}" if count > FILTERS else f"The {count:,}"
    if channels == 3:
        colors = "in color: gray is 0, and the largest weight of each has full brightness."
    else:
        colors = "gray: gray is 0, and the largest weight of each is black or white."
    image = _GALLERY.fill(
        "filters",
        source=_uri("png", png(drawn)),
        alt=f"{min(count, FILTERS)} filters of {node.name}",
        width=drawn.width,
        height=drawn.height,
    )
    return [paragraph(f"{few} filters of {node.name}, {height}×{width}, {colors}"), image]


def _drawn(weight: Array) -> Image.Image:
    """Draw filters (n, channels, h, w) side by side on a transparent background, enlarged."""
    if weight.shape[1] != 3:
        weight = weight.mean(axis=1, keepdims=True).repeat(3, axis=1)
    top = np.abs(weight).max(axis=(1, 2, 3), keepdims=True)
    pixels = np.rint(127.5 + 127.5 * weight / np.where(top > 0, top, 1)).astype(np.uint8)
    pixels = pixels.transpose(0, 2, 3, 1)
    n, h, w = pixels.shape[:3]
    factor = max(1, FILTER_SIDE // max(h, w))
    columns = min(n, FILTER_COLUMNS)
    step = w * factor + FILTER_GAP, h * factor + FILTER_GAP
    size = columns * step[0] - FILTER_GAP, ceil_div(n, columns) * step[1] - FILTER_GAP
    paper = Image.new("RGBA", size)
    for number in range(n):
        row, column = divmod(number, columns)
        tile = Image.fromarray(pixels[number]).resize(
            (w * factor, h * factor), Image.Resampling.NEAREST
        )
        paper.paste(tile, (column * step[0], row * step[1]))
    return paper
