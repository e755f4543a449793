"""Training from a folder of JPEGs compared with arrays in memory: `python
tests/benchmarks/feeding.py`.

The program trains on synthetic images in a temporary folder. Its first epoch decodes them; later
ones use the cache. After each epoch the same steps run on arrays in memory.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import harness
import numpy as np
from benchmark_networks import NETWORKS
from ours import make_engine
from pictures import picture
from PIL import Image

from cnn_cli.config import Config, load_config
from cnn_cli.config.network import build_graph
from cnn_cli.data.cache import ImageCache
from cnn_cli.data.loader import Loader
from cnn_cli.data.normalization import Normalization
from cnn_cli.data.opening import open_dataset
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.nn.init import initialize
from cnn_cli.nn.loss import target_weights
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array
from cnn_cli.optim.optimizers import make_optimizer
from cnn_cli.report.text.table import format_pairs
from cnn_cli.runs.results import EpochRow
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Silent
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train

CLASSES = 3
DISTINCT = 12  # images that are generated; the others are shifted copies, which is cheaper


def main() -> None:
    parser = harness.arguments("Compares training from a folder with arrays in memory.", rounds=5)
    harness.add_backend(parser)
    harness.add_networks(parser, "seed-32")
    parser.add_argument("--images", type=int, default=640, help="how many JPEGs; default: 640")
    parser.add_argument("--size", default="500x375", help="of a JPEG; default: 500x375")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the config")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    names = harness.chosen(options.networks)
    harness.prepare(torch_is_needed=False)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        print(f"making {options.images} JPEGs of {options.size}", file=sys.stderr)
        make_folder(folder / "photos", options.images, width, height)
        for name in names:
            source = write_config(folder, name, 1 + options.rounds)
            config = load_config(source, options.overrides)
            print(compare(config, source, options), end="", flush=True)


def make_folder(root: Path, images: int, width: int, height: int) -> None:
    rng = np.random.default_rng(0)
    pictures = [picture(width, height, seed) for seed in range(min(DISTINCT, images))]
    for i in range(images):
        shift = rng.integers(height), rng.integers(width)
        place = root / f"class{i % CLASSES}" / f"{i:05}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        shifted = np.roll(pictures[i % len(pictures)], shift, axis=(0, 1))
        Image.fromarray(shifted).save(place, quality=88)


def write_config(folder: Path, name: str, epochs: int) -> str:
    import yaml

    network = NETWORKS[name]
    height, width, channels = network.in_shape
    data: dict[str, Any] = {"root": "photos", "image_size": [height, width], "channels": channels}
    # Measuring mean and std would decode all images before the first epoch.
    data |= {"mean": [0.5] * channels, "std": [0.25] * channels, "val_split": 0}
    # So small that the loss stays finite for every network.
    trained = {"epochs": epochs, "batch_size": network.batch, "optimizer": {"lr": 1e-4}}
    document = {"data": data, "model": {"layers": network.layers}, "train": trained}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


def compare(config: Config, source: str, options: Any) -> str:
    dataset = open_dataset(Path(str(config.data.root)), None, 0)
    images = len(dataset.train)
    order = np.random.default_rng(0).permutation(images)
    pre = config.data.preprocess
    arrays = np.empty((images, *pre.shape), np.uint8)
    with ImageCache.open("ram", dataset.train.paths, pre) as cache:
        loader = Loader(dataset.train, cache, config.train.batch_size, options.threads)
        decoding = harness.seconds_of(lambda: decode_all(loader, order, arrays))
    memory = InMemory(config, source, pre, arrays, dataset.train.labels[order], options)
    memory.epoch()
    watcher = Watcher(memory)
    with tempfile.TemporaryDirectory() as out:
        run = TrainOptions(Path(out), threads=options.threads, backend=options.backend)
        train(config, source, run, Requests(), watcher)
    memory.close()
    first, *warm = watcher.folder
    folder, in_memory = median(warm), median(watcher.memory)
    apart = decoding + in_memory
    pairs = [
        ("network", f"{Path(source).stem}, {images} images, {options.threads} threads"),
        ("arrays in memory", f"{images / in_memory:,.1f} images/s"),
        ("folder, decoded before", f"{images / folder:,.1f} images/s, {in_memory / folder:.2f}"),
        ("first epoch", f"{first:.2f} s"),
        ("decoding alone", f"{decoding:.2f} s, {images / decoding:,.1f} images/s"),
        ("training alone", f"{in_memory:.2f} s"),
        ("one after the other", f"{apart:.2f} s, {apart / first:.2f} times the first epoch"),
    ]
    return format_pairs(pairs) + "\n"


def decode_all(loader: Loader, order: Array, arrays: Array) -> None:
    """Fill `arrays` with the images in that order."""
    for batch in loader.batches(order):
        start = batch.number * loader.batch_size
        arrays[start : start + len(batch)] = batch.images


class InMemory:
    """The same network, trained on arrays."""

    def __init__(
        self,
        config: Config,
        source: str,
        pre: Preprocess,
        arrays: Array,
        labels: Array,
        options: Any,
    ) -> None:
        graph = build_graph(config.model, pre.shape, CLASSES, source)
        params = Parameters(graph, config.train.dtype)
        initialize(params, 0, config.model.init)
        normalization = Normalization((0.5,) * pre.channels, (0.25,) * pre.channels)
        scale, shift = normalization.scale_and_shift()
        self.engine = make_engine(graph, params, options.threads, options.backend, scale, shift)
        self.optimizer = make_optimizer(config.train.optimizer, params)
        self.batch_size = config.train.batch_size
        self.arrays, self.labels = arrays, labels

    def epoch(self) -> float:
        """Return the seconds of an epoch."""
        return harness.seconds_of(self._epoch)

    def _epoch(self) -> None:
        for start in range(0, len(self.arrays), self.batch_size):
            rows = slice(start, start + self.batch_size)
            targets, divisor = target_weights(self.labels[rows], CLASSES)
            self.engine.train_step(self.arrays[rows], targets, divisor)
            self.optimizer.step(self.engine.gradient, 1e-4)

    def close(self) -> None:
        self.engine.close()


class Watcher(Silent):
    """Records the time of each epoch, and runs the same epoch in memory."""

    def __init__(self, memory: InMemory) -> None:
        self._memory = memory
        self.folder: list[float] = []
        self.memory: list[float] = []

    def epoch(self, row: EpochRow, best: bool) -> None:
        self.folder.append(row.seconds)
        self.memory.append(self._memory.epoch())


if __name__ == "__main__":
    main()
