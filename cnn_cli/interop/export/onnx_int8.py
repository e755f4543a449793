"""Quantize an ONNX network to int8 with onnxruntime's quantizer."""

from __future__ import annotations

import importlib
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cnn_cli.data.cache import ImageCache
from cnn_cli.data.dataset import Split
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.loader import Batch, Loader
from cnn_cli.errors import DataError, missing_extra, none_readable, reason
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.evaluate import AnyEvaluation, Evaluation, logits_can_be_kept
from cnn_cli.inference.several_labels import LabelsEvaluation
from cnn_cli.interop.export.onnx_check import feed, open_session
from cnn_cli.nn.types import Array

OPTION = "--int8"
BATCH = 16
MOST_IMAGES = 512
"""Images for the ranges of activations; more hardly change them."""


def check_quantizer() -> None:
    """Check early that the quantizer is available.

    Raises:
        UsageError: onnx or onnxruntime is not installed.
    """
    try:
        importlib.import_module("onnxruntime.quantization")
    except ImportError as error:
        raise missing_extra(OPTION, "onnxruntime", "onnx") from error


def quantize(content: bytes, classifier: Classifier, images: Split) -> tuple[bytes, int]:
    """Quantize weights to int8 per output channel, and activations to int8 per tensor.

    The ranges of activations are the smallest and largest values on the images (Jacob et al. 2018).

    Args:
        content: an ONNX file with folded batch normalizations.
        classifier: the exported checkpoint.
        images: up to `MOST_IMAGES` of these are used, evenly spaced.

    Returns:
        The new file, and the number of images used.

    Raises:
        DataError: no image can be read, or the quantizer fails.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType
    from onnxruntime.quantization import quantize_static as quantize_model

    count = min(len(images), MOST_IMAGES)
    order = np.linspace(0, len(images) - 1, count).round().astype(np.int64)
    bad: dict[int, ImageError] = {}
    batches = _batches(classifier, images, order, bad)
    seen = 0

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # ships no types
        def get_next(self) -> dict[str, Array] | None:
            nonlocal seen
            batch = next(batches, None)
            if batch is None:
                return None
            seen += len(batch)
            return feed(session, classifier, batch.images)

    session = open_session(content, OPTION)
    with tempfile.TemporaryDirectory(prefix="cnn-") as folder, _quiet():
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        before.write_bytes(content)
        try:
            quantize_model(
                before,
                after,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=_padded_with_infinity(content),
            )
        except Exception as error:  # the quantizer raises any exception
            if not seen:
                raise none_readable("--calibrate", count, bad.values()) from error
            text = reason(error).splitlines()[0]
            raise DataError(OPTION, "onnxruntime must be able to quantize it", text) from error
        return after.read_bytes(), seen


def _padded_with_infinity(content: bytes) -> list[str]:
    """Return the names of the operators around a border of -inf, which has no range.

    Max pooling with dilation may need one, see `MaxPool.to_onnx`.
    """
    import onnx

    graph = onnx.load_from_string(content).graph
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    borders = {
        node.output[0]
        for node in graph.node
        if node.op_type == "Pad" and len(node.input) > 2 and np.isinf(arrays[node.input[2]]).any()
    }
    return [node.name for node in graph.node if borders & {*node.input, *node.output}]


def evaluate_onnx(
    content: bytes, classifier: Classifier, images: Split
) -> tuple[AnyEvaluation, dict[int, ImageError]]:
    """Evaluate an ONNX network on labeled images; return the evaluation and the errors of
    unreadable ones.

    Args:
        content: the ONNX file.
        classifier: the exported checkpoint; its temperature is already in the scores.
        images: the images, in order.
    """
    session = open_session(content, OPTION)
    bad: dict[int, ImageError] = {}
    classes = len(classifier.classes)
    nothing = np.empty(0, np.int64)
    if classifier.several is not None:
        none = np.empty((0, classes), np.float32)
        of_labels = [LabelsEvaluation.of(none, none.astype(np.uint8), nothing)]
        for batch in _batches(classifier, images, np.arange(len(images)), bad):
            (probabilities,) = session.run(None, feed(session, classifier, batch.images))
            logits = _logits(probabilities)
            of_labels.append(LabelsEvaluation.of(logits, batch.labels, batch.indices))
        return LabelsEvaluation.joined(of_labels), bad
    parts = [Evaluation.of(np.empty((0, classes), np.float32), nothing, nothing)]
    keep = logits_can_be_kept(len(images) * classes * 4)
    kept = []
    for batch in _batches(classifier, images, np.arange(len(images)), bad):
        (scores,) = session.run(None, feed(session, classifier, batch.images))
        parts.append(Evaluation.of(scores, batch.labels, batch.indices))
        kept.append(scores)
        if not keep:
            kept.clear()
    whole = Evaluation.joined(parts)
    return (whole.with_logits(np.concatenate(kept)) if kept else whole), bad


def _logits(probabilities: Array) -> Array:
    """Invert the sigmoid; 0 and 1, which int8 outputs can reach, are clipped."""
    least = np.finfo(np.float32).eps
    p = probabilities.clip(least, 1 - least)
    logits: Array = np.log(p) - np.log1p(-p)
    return logits


def _batches(
    classifier: Classifier, images: Split, order: Array, bad: dict[int, ImageError]
) -> Iterator[Batch]:
    """Yield batches of a split, on one thread; unreadable images are added to `bad`."""
    with ImageCache.open("none", images.paths, classifier.preprocess) as cache:
        yield from Loader(images, cache, BATCH, 1).batches(order)
        bad.update(sorted(cache.bad.items()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the quantizer's advice on the root logger, which is already followed, and NumPy's
    warning about the range of a border of -inf, which is not used.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with np.errstate(invalid="ignore"):
            yield
    finally:
        logging.disable(before)
