"""`cnn networks`: list, print and measure the built-in networks."""

from __future__ import annotations

import json

import pytest
from cli_program import Inside

from cnn_cli.bench.network_bench import predictions_a_second
from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.config.networks import network_names, network_text
from cnn_cli.nn.backends import numpy_kernels
from cnn_cli.nn.params import Parameters


def test_the_list(cnn: Inside) -> None:
    outcome = cnn("networks")
    assert (outcome.code, outcome.err) == (0, "")
    header, _, *rows = outcome.out.splitlines()
    assert header.split() == ["name", "parameters", "multiply-adds", "image", "what", "it", "is"]
    assert [row.split()[0] for row in rows] == list(network_names())
    assert max(map(len, outcome.out.splitlines())) <= 120
    (row,) = (row for row in rows if row.startswith("resnet50 "))
    assert row.split()[1:4] == ["25,557,032", "4,089,184,256", "224x224"]
    assert row.endswith("  ResNet-50 (He et al. 2015)")


def test_as_json(cnn: Inside) -> None:
    outcome = cnn("networks", "MobileNet_v2", "--json")
    assert outcome.code == 0
    (row,) = json.loads(outcome.out)["networks"]
    assert row == {
        "name": "mobilenet-v2",
        "about": "MobileNetV2 (Sandler et al. 2018)",
        "image_size": [224, 224],
        "parameters": 3_504_872,
        "multiply_adds": 300_774_272,
        "arguments": {"width": 1, "drop_path": 0, "dropout": 0.2, "classes": "classes"},
        "images_per_second": None,
    }


def test_one_as_a_config(cnn: Inside) -> None:
    outcome = cnn("networks", "resnet50")
    assert (outcome.code, outcome.out, outcome.err) == (0, network_text("resnet50"), "")


def test_an_unknown_one(cnn: Inside) -> None:
    outcome = cnn("networks", "resnet51")
    assert (outcome.code, outcome.out) == (2, "")
    assert (
        outcome.err
        == "cnn: resnet51: no such network; cnn networks lists them. Did you mean 'resnet50'?\n"
    )


def test_measured(cnn: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnn_cli.bench.network_bench.predictions_a_second", lambda *_, **__: 12.34)
    outcome = cnn("networks", "resnet18", "--measure", "--backend", "numpy")
    assert outcome.code == 0
    header, _, row = outcome.out.splitlines()
    assert header.split()[4] == "images/s"
    assert row.split()[4] == "12.3"


def test_speed_is_measured() -> None:
    config = validate_config({"model": {"layers": ["flatten", {"linear": 2}]}}, "a")
    graph = build_graph(config.model, (4, 4, 3), 2, "a")
    params = Parameters(graph, "float32")
    speed = predictions_a_second(graph, params, numpy_kernels(), threads=1, images=1, seconds=0)
    assert speed > 0
