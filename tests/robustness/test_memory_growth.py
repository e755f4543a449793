"""Memory does not grow with the length of a training or the number of images."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import growth
import pytest
from hardship import Field, cnn, make_field

pytestmark = pytest.mark.skipif(not growth.STATM.exists(), reason="needs Linux's /proc")

MOST = 2_000_000  # bytes: allocators vary by less


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    folder = tmp_path_factory.mktemp("field")
    return make_field(folder, train=100, val=5, batch_size=4, optimizer={"lr": 0.001})


@pytest.fixture(scope="module")
def trained(field: Field) -> Path:
    out = field.config.parent / "run"
    assert cnn("train", field.config, "--out", out, "--epochs", 1).code == 0
    return out


def grown(*arguments: object) -> tuple[int, int, int]:
    """Return the number of watched calls, and bytes held after a third of them and at the end."""
    line = [sys.executable, growth.__file__, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    code, calls, early, late = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    print(f"{arguments[0]}: {calls} calls, {early / 1e6:.1f} MB early, {late / 1e6:.1f} MB late")
    return calls, early, late


@pytest.mark.parametrize(
    ("epochs", "cache"),
    [
        pytest.param(8, "none", id="600"),
        pytest.param(134, "none", id="10000-decoded", marks=pytest.mark.soak),
        pytest.param(134, "ram", id="10000-kept", marks=pytest.mark.soak),
    ],
)
def test_steps(field: Field, tmp_path: Path, epochs: int, cache: str) -> None:
    line = ("train", field.config, "--out", tmp_path / "run", "--quiet", f"data.cache={cache}")
    calls, early, late = grown(*line, "--epochs", epochs)
    assert calls == 75 * epochs
    assert late - early < MOST


@pytest.mark.parametrize(
    "times", [pytest.param(10, id="3000"), pytest.param(334, id="100000", marks=pytest.mark.soak)]
)
def test_images(field: Field, trained: Path, tmp_path: Path, times: int) -> None:
    paths = [str(path) for path in sorted((field.pictures / "train").rglob("*.png"))]
    labels = tmp_path / "labels.jsonl"
    (tmp_path / "list").write_text("".join(f"{path}\n" for path in paths * times))
    line = ("predict", "--from-file", tmp_path / "list", "--ckpt", trained, "--output", labels)
    calls, early, late = grown(*line, "--format", "jsonl", "--backend", "numpy")
    assert labels.read_bytes().count(b"\n") == 300 * times
    assert calls == -(-300 * times // 64)
    assert late - early < MOST
