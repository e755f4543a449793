"""The built-in networks compute the same as torchvision's and timm's.

Skipped unless requested: `pip install torchvision`, and `pip install timm --no-deps`, then `pytest
-m torchvision`. `compare_networks.py` prints the table.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from compare_networks import ARGUMENTS, compare, entries
from foreign_networks import random_parameters

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.config.networks import network_text
from cnn_cli.config.yaml12 import parse_yaml
from cnn_cli.data.normalization import Normalization
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.inference.classifier import Classifier
from cnn_cli.interop.export.torchvision_names import torchvision_arrays

pytestmark = pytest.mark.torchvision


@pytest.mark.parametrize("name", entries())
def test_it_is_theirs(name: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip(entries()[name][0])
    row = compare(name)
    assert row.parameters[0] == row.parameters[1]
    assert row.difference < 1e-8


@pytest.mark.parametrize(
    "name", [name for name, (library, _) in entries().items() if library == "torchvision"]
)
def test_torchvision_loads_what_is_exported(name: str) -> None:
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("torchvision.models")
    model = getattr(models, entries()[name][1])(weights=None, **ARGUMENTS.get(name, {}))
    config = validate_config(parse_yaml(network_text(name), name), name)
    graph = build_graph(config.model, (107, 107, 3), 1000, name)
    params = random_parameters(graph, dtype="float32")
    normalization = Normalization((0.5,) * 3, (0.5,) * 3)
    pre, classes = Preprocess(107, 107, 3), tuple(map(str, range(1000)))
    classifier = Classifier(Path("x"), {}, classes, pre, normalization, graph, params, 1.0)
    arrays = torchvision_arrays(classifier)
    state = OrderedDict((key, torch.tensor(np.array(array))) for key, array in arrays.items())
    # A version, which MNASNet requires and files of arrays lack; no type has it.
    state._metadata = model.state_dict()._metadata  # type: ignore[attr-defined]
    model.load_state_dict(state, strict=True)
