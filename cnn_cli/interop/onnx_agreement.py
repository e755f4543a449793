"""Compare an imported network with its ONNX file on random images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnn_cli.errors import DataError, printable
from cnn_cli.interop.foreign import Foreign
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.loss import sigmoid, softmax
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array

LIMIT = 1e-3  # largest difference between scores, relative to the largest score
MOST_TIMES = 10  # multiple of the effect of rounding on the scores, if that is more
IMAGES = 2
AGREE = "scores of random images agree with onnxruntime's to"


def compare_with_onnxruntime(path: Path, foreign: Foreign, graph: Graph, params: Parameters) -> str:
    """Compare scores, or the probabilities that the file makes of them; return a sentence.

    Args:
        path: the file.
        foreign: its content.
        graph, params: the imported network, which reads normalized images.

    Raises:
        DataError: the scores differ.
    """
    if foreign.in_shape is None or graph.in_shape != foreign.in_shape:
        return "not compared with onnxruntime: the file's network is for images of another size"
    try:
        import onnxruntime
    except ImportError:
        return "not compared with onnxruntime, which is not installed: pip install 'cnn-cli[onnx]'"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        entry = session.get_inputs()[0]
        count = entry.shape[0] if isinstance(entry.shape[0], int) else IMAGES
        images = _images(foreign, count, entry.type)
        fed = images if foreign.channels_last else np.moveaxis(images, -1, 1)
        (scores, *_) = session.run(None, {entry.name: np.ascontiguousarray(fed)})
    except Exception as error:  # its errors have no common base class
        text = printable((str(error) or type(error).__name__).splitlines()[0])[:200]
        return f"not compared with onnxruntime, which does not run it: {text}"
    x = images.astype(np.float64)
    if foreign.normalization is not None:
        x = x * foreign.normalization.scale + foreign.normalization.shift
    expected = np.asarray(scores, np.float64).reshape(count, -1)

    def scores_of(dtype: str) -> Array:
        copy = Parameters(graph, dtype)
        copy.load(params.named() | params.named_buffers(), str(path))
        with Engine(graph, copy, threads=1) as engine:
            found = engine.predict(np.ascontiguousarray(x, dtype)).astype(np.float64)
        if foreign.activation is None:
            return found
        return sigmoid(found) if foreign.activation == "sigmoid" else softmax(found)

    largest = max(float(np.abs(expected).max()), 1e-30)
    found = scores_of("float32")
    difference = float(np.abs(found - expected).max()) / largest
    limit = LIMIT
    if LIMIT < difference < 1:
        rounding = float(np.abs(scores_of("float64") - found).max()) / largest
        limit = max(LIMIT, MOST_TIMES * rounding)
    if not difference <= limit:
        rule = f"the network must give onnxruntime's scores to {LIMIT:g} of the largest"
        raise DataError(path, rule, f"a difference of {difference:.2g}")
    return f"{AGREE} {max(difference, 1e-9):.0e}"


def _images(foreign: Foreign, count: int, kind: str) -> Array:
    """Return random images (n, h, w, c) in the form that the file's network reads."""
    rng = np.random.default_rng(0)
    shape = (count, *(foreign.in_shape or ()))
    white = foreign.normalization.white if foreign.normalization is not None else None
    if kind in ("tensor(uint8)", "tensor(uint16)"):
        return rng.integers(0, int(white or 255) + 1, shape).astype(kind[7:-1])
    types = {"tensor(double)": np.float64, "tensor(float16)": np.float16}
    return rng.normal(size=shape).astype(types.get(kind, np.float32))
