"""Classify one image, or a folder of JPEGs, in a new process, compared with PyTorch and
onnxruntime.

`python tests/benchmarks/predict.py` runs it. PyTorch's script contains the seed network and takes
one image.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import harness
import numpy as np
from benchmark_networks import SEED
from pictures import picture
from PIL import Image

from cnn_cli.report.text.table import format_table

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CLASSES = ("apple", "pear", "quince")  # as in torch_predict.py
SIZE = (500, 375)
ROUNDS_OF_ONE = 15
ROUNDS_OF_A_FOLDER = 5
DIFFERENT = 50  # distinct images; larger folders contain copies


def main() -> None:
    parser = harness.arguments("Times one prediction as a whole process.")
    parser.set_defaults(rounds=None)
    harness.add_backend(parser, None)  # the program's own choice
    parser.add_argument("--network", default="seed", help="seed, or a name of `cnn networks`")
    parser.add_argument("--images", type=int, default=1, help="more than one: JPEGs of a folder")
    options = parser.parse_args()
    rounds = options.rounds or (ROUNDS_OF_ONE if options.images == 1 else ROUNDS_OF_A_FOLDER)
    harness.prepare(torch_is_needed=False)
    seed = options.network == "seed"
    with_torch = seed and options.images == 1
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        image = make_pictures(folder / "pictures", options.images)
        model_of: dict[str, Any] = {"layers": SEED} if seed else {"network": options.network}
        checkpoint = make_checkpoint(folder, model_of)
        model = folder / "model.onnx"
        run([*CNN, "export", "--ckpt", str(checkpoint), "--output", str(model)])
        line = ["predict", str(image), "--ckpt", str(checkpoint)]
        if options.backend is not None:
            line += ["--backend", options.backend]
        commands = {
            "cnn predict": [*CNN, *line],
            "onnxruntime": [sys.executable, str(HERE / "onnx_predict.py"), str(model), str(image)],
            "python": [sys.executable, "-c", "import numpy, PIL.Image"],
        }
        if with_torch:
            weights = export_weights(checkpoint, folder)
            script = str(HERE / "torch_predict.py")
            commands["torch"] = [sys.executable, script, str(weights), str(image)]
        answers = {name: run(command) for name, command in commands.items()}
        for rival in commands.keys() - {"cnn predict", "python"}:
            check(answers["cnn predict"], answers[rival])
        acts = {name: lambda command=command: run(command) for name, command in commands.items()}
        seconds = harness.alternate(acts, rounds, turn=0)
    names = {"python": "python with NumPy and Pillow imported"}
    rows = [
        (
            names.get(name, name),
            f"{1e3 * taken:.0f}",
            f"{seconds['torch'] / taken:.1f}" if with_torch else "",
            f"{seconds['onnxruntime'] / taken:.2f}",
        )
        for name, taken in seconds.items()
    ]
    print(format_table(("process", "ms", "torch / it", "onnxruntime / it"), rows, "lrrr"), end="")


CNN = (sys.executable, "-m", "cnn_cli")


def run(command: list[str]) -> str:
    """Run a command that must succeed; return its output."""
    # Both sides use compiled modules, as after an installation.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        harness.fail(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def make_pictures(folder: Path, count: int) -> Path:
    """Write JPEGs; return the single file, or the folder."""
    folder.mkdir()
    paths = [folder / f"{number:06}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        if number < DIFFERENT:
            Image.fromarray(picture(*SIZE, seed=number)).save(path, quality=88)
        else:
            os.link(paths[number % DIFFERENT], path)
    return folder if count > 1 else paths[0]


def make_checkpoint(folder: Path, model: dict[str, Any]) -> Path:
    """Save a network's initial weights, as `cnn train` does.

    Args:
        model: the config's section.
    """
    import yaml

    for i, name in enumerate(CLASSES):
        (folder / "photos" / name).mkdir(parents=True)
        Image.fromarray(picture(32, 32, seed=i)).save(folder / "photos" / name / "0.png")
    data: dict[str, Any] = {"root": "photos", "image_size": 224, "val_split": 0}
    data |= {"mean": [0.5] * 3, "std": [0.25] * 3}
    document = {"data": data, "model": model, "train": {"epochs": 0}}
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(document))
    run([*CNN, "train", str(config), "--out", str(folder / "run"), "--quiet"])
    return folder / "run" / "last.npz"


def export_weights(checkpoint: Path, folder: Path) -> Path:
    """Save the same weights as `torch.save` does."""
    import torch

    arrays = np.load(checkpoint)
    state = {}
    for key in arrays.files:
        kind, _, name = key.partition("/")
        if kind == "model":
            layer, _, parameter = name.removeprefix("layers.").partition("/")
            # The linear layer is one position later: PyTorch flattens its input in a layer.
            position = int(layer) + (layer == str(len(SEED) - 1))
            state[f"{position}.{parameter}"] = torch.from_numpy(arrays[key])
    torch.save(state, folder / "weights.pt")
    return folder / "weights.pt"


def check(ours: str, theirs: str) -> None:
    for mine, other in zip(ours.splitlines(), theirs.splitlines(), strict=True):
        (path, label, probability), (place, name, expected) = (x.split("\t") for x in (mine, other))
        near = abs(float(probability) - float(expected)) <= 1e-4
        if not (path == place and label == name and near):
            harness.fail(f"the predictions differ: {mine} and {other}")


if __name__ == "__main__":
    main()
