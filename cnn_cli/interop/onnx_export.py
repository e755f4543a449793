"""A checkpoint as an ONNX network, checked, and compared with what it was made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from cnn_cli import __version__
from cnn_cli.data.decode import ImageError, Pixels
from cnn_cli.data.decode_ahead import decode_stream
from cnn_cli.data.sources import expand_sources
from cnn_cli.errors import DataError, GateError, reason
from cnn_cli.inference.classifier import Classifier
from cnn_cli.interop.foreign import missing_extra
from cnn_cli.interop.onnx_nodes import Operators
from cnn_cli.nn.fold import FoldedNetwork
from cnn_cli.nn.types import Array

OPSET, IR_VERSION = 20, 9  # of 2023: what runtimes of the last years read
LIMIT = 1e-4  # of the difference between probabilities
BATCH = 16
MOST_IMAGES = 256


def to_onnx(classifier: Classifier, *, preprocessing: bool, fold: bool) -> bytes:
    """The network as an ONNX file's content, after onnx's full check.

    Args:
        classifier: what is exported; its temperature divides the scores.
        preprocessing: the input is pixels, uint8 (n, height, width, channels); otherwise it is
            normalized already, float32 (n, channels, height, width).
        fold: batch normalizations go into the convolutions before them.

    Raises:
        UsageError: without the package onnx.
        DataError: the check fails.
    """
    try:
        import onnx
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError as error:
        raise missing_extra("export", "onnx", "onnx") from error
    graph, params = classifier.graph, classifier.params
    if fold:
        folded = FoldedNetwork(graph, params)
        folded.refresh()
        graph, params = folded.graph, folded.params
    height, width, channels = graph.in_shape
    operators = Operators(graph, params, "image")
    if preprocessing:
        _preprocess(operators, classifier, TensorProto.FLOAT)
    scores = operators.network()
    temperature = operators.constant("temperature", np.array(classifier.temperature))
    if classifier.temperature == 1:
        del operators.constants["temperature"]
        operators.add("Identity", [scores], "scores")
    else:
        operators.add("Div", [scores, temperature], "scores")
    entry = (
        helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", height, width, channels])
        if preprocessing
        else helper.make_tensor_value_info(
            "image", TensorProto.FLOAT, ["n", channels, height, width]
        )
    )
    end = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", graph.classes])
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node(word, inputs, [output], name=output, **attributes)
                for word, inputs, output, attributes in operators.nodes
            ],
            "cnn",
            [entry],
            [end],
            [numpy_helper.from_array(array, key) for key, array in operators.constants.items()],
        ),
        producer_name="cnn",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, metadata(classifier))
    try:
        checker.check_model(model, full_check=True)
    except (checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        text = reason(error).splitlines()[0]
        raise DataError(classifier.path, "must give a sound ONNX network", text) from error
    content: bytes = model.SerializeToString()
    return content


def metadata(classifier: Classifier) -> dict[str, str]:
    """What a reader needs besides the numbers; lists as JSON."""
    pre = classifier.preprocess
    return {
        "classes": json.dumps(classifier.classes),
        "mean": json.dumps(classifier.normalization.mean),
        "std": json.dumps(classifier.normalization.std),
        "image_size": json.dumps([pre.height, pre.width]),
        "channels": str(pre.channels),
        "resize_mode": pre.resize_mode,
        "cnn_version": __version__,
    }


def check_onnx(content: bytes, classifier: Classifier, sources: Iterable[str]) -> tuple[int, float]:
    """Compare with onnxruntime on pictures.

    Returns:
        How many pictures, at most 256, and the largest difference between probabilities.

    Raises:
        UsageError: without the package onnxruntime.
        DataError: a picture cannot be read, or there is none.
        GateError: the difference is above 1e-4.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_extra("--check", "onnxruntime", "onnx") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    images, largest = 0, 0.0
    with classifier.engine(1) as engine:
        for batch in _batches(classifier, sources):
            expected = classifier.probabilities(engine.predict(batch).copy())
            entry = session.get_inputs()[0].name
            fed = batch if entry == "pixels" else normalized(classifier, batch)
            (scores,) = session.run(None, {entry: fed})
            difference = np.abs(_softmax(scores) - expected).max()
            largest = max(largest, float(difference))
            images += len(batch)
    if not images:
        raise DataError("--check", "must name a picture, or a folder of them", "none")
    if not largest <= LIMIT:
        rule = f"onnxruntime must agree to {LIMIT:g} on every probability"
        raise GateError("--check", rule, f"a difference of {largest:.2g}")
    return images, largest


def normalized(classifier: Classifier, pixels: Array) -> Array:
    """(n, h, w, c) uint8 as the network without preprocessing reads it."""
    mean, std = classifier.normalization.mean, classifier.normalization.std
    images = (pixels / 255 - np.array(mean)) / np.array(std)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)


def _softmax(scores: Array) -> Array:
    """In float64; the temperature is in the scores already."""
    exponentials = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    probabilities: Array = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def _batches(classifier: Classifier, sources: Iterable[str]) -> Iterator[Array]:
    batch: list[Pixels] = []
    images = decode_stream(expand_sources(sources), classifier.preprocess, 1)
    for _, image in islice(images, MOST_IMAGES):
        if isinstance(image, ImageError):
            raise image
        batch.append(image)
        if len(batch) == BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def _preprocess(operators: Operators, classifier: Classifier, float_type: Any) -> None:
    """From pixels, (n, h, w, c) uint8, to the image that the network reads."""
    scale, shift = classifier.normalization.scale_and_shift()
    by_channel = (-1, 1, 1)
    floats = operators.add("Cast", ["pixels"], "pixels.float", to=float_type)
    planes = operators.add("Transpose", [floats], "pixels.planes", perm=(0, 3, 1, 2))
    factor = operators.constant("pixels.scale", scale.reshape(by_channel))
    offset = operators.constant("pixels.shift", shift.reshape(by_channel))
    scaled = operators.add("Mul", [planes, factor], "pixels.scaled")
    operators.add("Add", [scaled, offset], "image")


def save_safetensors(classifier: Classifier, path: Path) -> None:
    """Weights and statistics under PyTorch's names, `<layer>.<param>`, and layouts.

    Raises:
        UsageError: without the package safetensors.
        DataError: the file cannot be written.
    """
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise missing_extra("export", "safetensors", "pretrained") from error
    from cnn_cli.files import write_atomic

    params = classifier.params
    arrays = params.named() | params.named_buffers()
    named = {name.replace("/", "."): np.ascontiguousarray(array) for name, array in arrays.items()}
    write_atomic(path, save(named, metadata(classifier)))
