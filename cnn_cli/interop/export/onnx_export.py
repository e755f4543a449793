"""Export a checkpoint to ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnn_cli import __version__
from cnn_cli.errors import DataError, missing_extra, reason
from cnn_cli.inference.classifier import Classifier
from cnn_cli.interop.export.onnx_network import OnnxNetwork
from cnn_cli.interop.exported import metadata
from cnn_cli.nn.fold import FoldedNetwork

OPSET, IR_VERSION = 20, 9  # of 2023, which current runtimes support


def to_onnx(classifier: Classifier, *, preprocessing: bool, fold: bool) -> bytes:
    """Return the network as an ONNX file, after onnx's full check.

    Args:
        classifier: the checkpoint. Its temperature divides the scores; with several labels per
            image, a sigmoid converts them to probabilities.
        preprocessing: the input is pixels (n, height, width, channels), uint8, uint16 or float32 as
            `data.depth` says; otherwise normalized float32 (n, channels, height, width).
        fold: fold batch normalizations into the preceding convolutions.

    Raises:
        UsageError: onnx is not installed.
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
    network = OnnxNetwork(graph, params, "image")
    if preprocessing:
        _preprocess(network, classifier, TensorProto.FLOAT)
    scores = network.add_layers()
    answer = output_name(classifier)
    last = "Identity" if classifier.several is None else "Sigmoid"
    if classifier.temperature == 1:
        network.add(last, [scores], answer)
    else:
        temperature = network.constant("temperature", np.array(classifier.temperature))
        calibrated = answer if last == "Identity" else "scores.calibrated"
        network.add("Div", [scores, temperature], calibrated)
        if calibrated != answer:
            network.add(last, [calibrated], answer)
    entry = (
        helper.make_tensor_value_info(
            "pixels",
            helper.np_dtype_to_tensor_dtype(classifier.preprocess.dtype),
            ["n", height, width, channels],
        )
        if preprocessing
        else helper.make_tensor_value_info(
            "image", TensorProto.FLOAT, ["n", channels, height, width]
        )
    )
    end = helper.make_tensor_value_info(answer, TensorProto.FLOAT, ["n", graph.classes])
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node(word, inputs, [output], name=output, **attributes)
                for word, inputs, output, attributes in network.nodes
            ],
            "cnn",
            [entry],
            [end],
            [numpy_helper.from_array(array, key) for key, array in network.constants.items()],
        ),
        producer_name="cnn",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, metadata(classifier, temperature=False))
    try:
        checker.check_model(model, full_check=True)
    except (checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        text = reason(error).splitlines()[0]
        raise DataError(classifier.path, "must give a sound ONNX network", text) from error
    content: bytes = model.SerializeToString()
    return content


def output_name(classifier: Classifier) -> str:
    """Return the name of the output: `scores`, to which softmax is applied, or with several labels
    per image `probabilities`, which are compared with thresholds.
    """
    return "scores" if classifier.several is None else "probabilities"


def _preprocess(network: OnnxNetwork, classifier: Classifier, float_type: Any) -> None:
    """Add the conversion from pixels, (n, h, w, c), to the network's input."""
    scale, shift = classifier.normalization.scale_and_shift()
    by_channel = (-1, 1, 1)
    floats = network.add("Cast", ["pixels"], "pixels.float", to=float_type)
    planes = network.add("Transpose", [floats], "pixels.planes", perm=(0, 3, 1, 2))
    factor = network.constant("pixels.scale", scale.reshape(by_channel))
    offset = network.constant("pixels.shift", shift.reshape(by_channel))
    scaled = network.add("Mul", [planes, factor], "pixels.scaled")
    network.add("Add", [scaled, offset], "image")
