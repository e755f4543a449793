"""What `cnn eval --reject` rejects: `python tests/benchmarks/unknown.py [CONFIG] [DIR]`.

A network is trained on seven classes of DIR. Images of the other classes, drawings, and images from
`--others FOLDER` are unknown. For the Mahalanobis distance that the program uses (Lee et al. 2018),
the energy (Liu et al. 2020) and the largest probability (Hendrycks and Gimpel 2017), it prints the
area under the ROC curve, and the fraction rejected when 5 % of the validation images are. Further
arguments are passed to the training, such as `train.epochs=6`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from cnn_cli.data.dataset import Split
from cnn_cli.data.decode import load_image
from cnn_cli.data.depth import Pixels
from cnn_cli.data.opening import open_labeled
from cnn_cli.data.roots import training_classes
from cnn_cli.data.sources import expand_sources
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.embedding import Embedder
from cnn_cli.inference.rejecting import learn_rejection
from cnn_cli.nn.types import Array

KNOWN = 7
DRAWN = 400
SHARE = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description="Shows a network what it was not trained on.")
    parser.add_argument("config", nargs="?", default="configs/small.yaml", help="of the network")
    parser.add_argument("data", nargs="?", type=Path, default="data/fashion", help="parts")
    parser.add_argument("--seed", type=int, default=0, help="which classes are left out")
    parser.add_argument("--others", help="a folder of other images")
    parser.add_argument("--run", type=Path, help="a run that is trained already")
    options, more = parser.parse_known_args()
    names = sorted(training_classes(options.data, None))
    order = np.random.default_rng(options.seed).permutation(len(names))
    known = sorted(names[i] for i in order[:KNOWN])
    with tempfile.TemporaryDirectory() as folder:
        run = options.run or Path(folder, "run")
        if options.run is None:
            line = ["train", options.config, "--data", options.data, "--out", run, "--quiet"]
            line += [f"data.classes=[{','.join(known)}]", *more]
            subprocess.run([sys.executable, "-m", "cnn_cli", *map(str, line)], check=True)
        report(Classifier.load(run), options.data, names, options.others)


def report(classifier: Classifier, data: Path, names: list[str], others: str | None) -> None:
    """Print how a classifier scores unknown images, without training."""
    known = list(classifier.classes)
    unknown = [name for name in names if name not in known]
    train, val = (only(data, part, names, known) for part in ("train", "val"))
    sets = {"other classes": pixels(classifier, only(data, "val", names, unknown).paths)}
    sets["drawings"] = drawings(classifier)
    if others is not None:
        paths = [entry[0] for entry in expand_sources([others], None) if entry is not None]
        sets["others"] = pixels(classifier, paths)
    rejection = learn_rejection(classifier, train, val, SHARE, 1, "numpy")
    with classifier.engine(1) as engine:
        embed = Embedder(classifier, engine, None)

        def said(images: list[Pixels]) -> dict[str, Array]:
            """Return scores of images: larger is stranger."""
            parts = [images[i : i + 64] for i in range(0, len(images), 64)]
            features = np.concatenate([embed(part) for part in parts])
            logits = [engine.predict(np.stack(part)).astype(np.float64) for part in parts]
            z = np.concatenate(logits)
            energy = np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1)) + z.max(axis=1)
            return {
                "distance": rejection.distances(features),
                "energy": -energy,
                "probability": -np.exp(z.max(axis=1) - energy),
            }

        own = said(pixels(classifier, val.paths))
        strange = {name: said(images) for name, images in sets.items()}
    print(f"known      {', '.join(known)}")
    print(f"unknown    {', '.join(unknown)}")
    print("score        images          AUROC   refused")
    for score, values in own.items():
        bound = np.quantile(values, 1 - SHARE, method="higher")
        for name, found in strange.items():
            refused = (found[score] > bound).mean()
            print(f"{score:12} {name:14} {auroc(values, found[score]):6.4f}  {refused:6.3f}")


def only(data: Path, part: str, names: list[str], wanted: list[str]) -> Split:
    """Return images of some classes, with the classifier's class numbers."""
    split = open_labeled(data, names, part)  # type: ignore[arg-type]  # train or val
    numbers = {names.index(name): i for i, name in enumerate(wanted)}
    rows = [i for i, label in enumerate(split.labels.tolist()) if label in numbers]
    labels = np.array([numbers[int(split.labels[i])] for i in rows], np.int64)
    return Split([split.paths[i] for i in rows], labels)


def pixels(classifier: Classifier, paths: list[str]) -> list[Pixels]:
    return [load_image(path, classifier.preprocess) for path in paths]


def drawings(classifier: Classifier) -> list[Pixels]:
    """Generate noise, waves, disks and coarse squares."""
    rng = np.random.default_rng(0)
    height, width, channels = classifier.preprocess.shape
    y, x = np.mgrid[:height, :width]
    found: list[Pixels] = []
    drawn: Array
    for i in range(DRAWN):
        match i % 4:
            case 0:
                drawn = rng.integers(0, 256, (height, width))
            case 1:
                drawn = 127 + 127 * np.sin(x * rng.normal() + y * rng.normal() + rng.uniform(0, 6))
            case 2:
                drawn = np.zeros((height, width))
                for _ in range(int(rng.integers(1, 5))):
                    center = rng.uniform(0, height), rng.uniform(0, width)
                    radius = rng.uniform(0.07, 0.3) * height
                    inside = (y - center[0]) ** 2 + (x - center[1]) ** 2 < radius**2
                    drawn[inside] = rng.integers(80, 256)
            case _:
                rows, columns = -(-height // 4), -(-width // 4)
                coarse = rng.integers(0, 256, (rows, columns))
                drawn = np.kron(coarse, np.ones((4, 4)))[:height, :width]
        found.append(np.repeat(drawn.astype(np.uint8)[..., None], channels, axis=2))
    return found


def auroc(known: Array, unknown: Array) -> float:
    """Return the probability that an unknown image has the larger score; ties count half."""
    order = np.sort(known)
    below = np.searchsorted(order, unknown, "left") + np.searchsorted(order, unknown, "right")
    return float(below.mean() / 2 / len(known))


if __name__ == "__main__":
    main()
