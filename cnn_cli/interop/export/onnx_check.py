"""Compare an ONNX network with the checkpoint from which it was exported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from cnn_cli.data.decode_ahead import decode_stream
from cnn_cli.data.depth import FULL_SCALE, Pixels
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.sources import expand_sources
from cnn_cli.errors import DataError, GateError, missing_extra, reason
from cnn_cli.inference.classifier import Classifier
from cnn_cli.nn.types import Array

LIMIT = 1e-4  # largest difference between probabilities
BATCH = 16
MOST_IMAGES = 256


def check_onnx(
    content: bytes,
    classifier: Classifier,
    sources: Iterable[str],
    progress: Callable[[int], object] = lambda _: None,
) -> tuple[int, float]:
    """Compare with onnxruntime on images.

    Args:
        content: the ONNX file.
        classifier: the exported checkpoint.
        sources: images and folders.
        progress: called after each batch with the number of images.

    Returns:
        The number of images, at most 256, and the largest difference between probabilities.

    Raises:
        UsageError: onnxruntime is not installed.
        DataError: an image cannot be read, or there is none.
        GateError: the difference is above 1e-4.
    """
    session = open_session(content, "--check")
    images, largest = 0, 0.0
    with classifier.engine(1) as engine:
        for batch in _batches(classifier, sources):
            expected = classifier.probabilities(engine.predict(batch).copy())
            (answer,) = session.run(None, feed(session, classifier, batch))
            found = _softmax(answer) if classifier.several is None else answer
            difference = np.abs(found - expected).max()
            largest = max(largest, float(difference))
            images += len(batch)
            progress(len(batch))
    if not images:
        raise DataError("--check", "must name an image, or a folder of images", "none")
    if not largest <= LIMIT:
        rule = f"onnxruntime must agree to {LIMIT:g} on every probability"
        raise GateError("--check", rule, f"a difference of {largest:.2g}")
    return images, largest


def open_session(content: bytes, option: str) -> Any:
    """Open an ONNX network in onnxruntime.

    Args:
        content: the ONNX file.
        option: the option that needs it, for messages.

    Raises:
        UsageError: onnxruntime is not installed.
        GateError: onnxruntime refuses the network.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_extra(option, "onnxruntime", "onnx") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # the exception says it
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of classes that only its compiled part names
        raise GateError(option, "onnxruntime must accept the network", reason(error)) from error


def feed(session: Any, classifier: Classifier, pixels: Array) -> dict[str, Array]:
    """Return pixels (n, h, w, c) as the input of an exported network, with or without
    preprocessing.
    """
    entry = session.get_inputs()[0].name
    return {entry: pixels if entry == "pixels" else normalized(classifier, pixels)}


def normalized(classifier: Classifier, pixels: Array) -> Array:
    """Return pixels (n, h, w, c) as the input of a network without preprocessing."""
    normalization = classifier.normalization
    full = FULL_SCALE[normalization.depth]
    images = (pixels / full - np.array(normalization.mean)) / np.array(normalization.std)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)


def _softmax(scores: Array) -> Array:
    """Compute softmax in float64; the scores already include the temperature."""
    exponentials = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    probabilities: Array = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def _batches(classifier: Classifier, sources: Iterable[str]) -> Iterator[Array]:
    batch: list[Pixels] = []
    pre = classifier.preprocess
    images = decode_stream(expand_sources(sources, arrays=not pre.is_plain), pre, 1)
    for _, image in islice(images, MOST_IMAGES):
        if isinstance(image, ImageError):
            raise image
        batch.append(image)
        if len(batch) == BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)
