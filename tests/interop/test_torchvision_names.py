"""Weights with torchvision's names and shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_program import Inside, call_inside
from foreign_networks import random_parameters
from test_onnx_export import classifier_of

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.config.networks import network_text
from cnn_cli.config.yaml12 import parse_yaml
from cnn_cli.data.normalization import Normalization
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.errors import DataError
from cnn_cli.inference.classifier import Classifier
from cnn_cli.interop.assemble import assemble
from cnn_cli.interop.export.safetensors_export import save_safetensors
from cnn_cli.interop.export.torchvision_names import torchvision_arrays
from cnn_cli.interop.match_names import match_names
from cnn_cli.interop.readers.safetensors_file import read_safetensors

pytest.importorskip("safetensors")


@pytest.fixture
def cnn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    return call_inside(monkeypatch, capsys)


def network(name: str, classes: int = 3, size: int = 64, **arguments: Any) -> Classifier:
    document = parse_yaml(network_text(name), name)
    document = {"model": {"network": {"name": name, **arguments}}, "data": document["data"]}
    config = validate_config(document, name)
    graph = build_graph(config.model, (size, size, 3), classes, name)
    params = random_parameters(graph, dtype="float32")
    names = tuple(map(str, range(classes)))
    normalization = Normalization((0.5,) * 3, (0.5,) * 3)
    pre = Preprocess(size, size, 3)
    return Classifier(Path("x.npz"), {}, names, pre, normalization, graph, params, 1.0)


@pytest.mark.parametrize("name", ["squeezenet", "mobilenet-v3", "shufflenet-v2", "regnet-y-400mf"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    classifier = network(name)
    path = tmp_path / "a.safetensors"
    save_safetensors(classifier, path, "torchvision")
    foreign = read_safetensors(path)
    pairs, rule = match_names(classifier.graph, foreign)
    assert rule == "known names"
    arrays, notes = assemble(classifier.graph, foreign, pairs, {})
    assert notes == []
    for key, array in (classifier.params.named() | classifier.params.named_buffers()).items():
        np.testing.assert_array_equal(arrays[key], array, err_msg=key)


def test_shapes_and_counters_of_torchvision() -> None:
    found = torchvision_arrays(network("mobilenet-v3"))
    shapes = {key: array.shape for key, array in found.items()}
    assert shapes["features.4.block.2.fc1.weight"] == (24, 72, 1, 1)
    assert shapes["classifier.3.weight"] == (3, 1280)
    assert shapes["features.0.1.num_batches_tracked"] == ()
    assert found["features.0.1.num_batches_tracked"].dtype == np.int64
    found = torchvision_arrays(network("convnext-tiny", size=32))
    shapes = {key: array.shape for key, array in found.items()}
    assert shapes["features.1.0.layer_scale"] == (96, 1, 1)
    assert shapes["features.1.0.block.3.weight"] == (384, 96)
    assert shapes["classifier.2.weight"] == (3, 768)


def test_networks_that_torchvision_has_not(cnn: Inside, tmp_path: Path) -> None:
    rule = "--names torchvision is for a network that torchvision has; cnn networks lists them"
    for other in (
        network("resnet18", width=0.5),
        classifier_of(["flatten", {"linear": "classes"}], (4, 4, 3), 2),
    ):
        with pytest.raises(DataError) as caught:
            torchvision_arrays(other)
        assert caught.value.line() == f"x.npz: {rule}."
    outcome = cnn("export", "--ckpt", "a.npz", "--output", "a.onnx", "--names", "torchvision")
    rule = "goes with an --output ending in .safetensors. Got torchvision."
    assert (outcome.code, outcome.err) == (2, f"cnn: --names: {rule}\n")
