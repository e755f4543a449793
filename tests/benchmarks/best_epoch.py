"""Which epoch's weights to keep: `python tests/benchmarks/best_epoch.py train CONFIG DIR`.

`train` trains on a few images of DIR, a folder of class folders, and scores many others after
each epoch. Further words are passed to the training, such as `train.epochs=6`. `best_epoch.py
score FOLDER` then draws a small validation set from the scored images, many times. Each rule
chooses an epoch by it, which is evaluated on the remaining images. The table shows how much a rule
gains over the highest accuracy, and by how much its validation accuracy is too high.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_cli.config import Config
from cnn_cli.config.load import load_config
from cnn_cli.data.cache import ImageCache
from cnn_cli.data.loader import Loader
from cnn_cli.data.opening import open_labeled
from cnn_cli.inference.evaluate import evaluate
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array
from cnn_cli.optim.averages import Ema
from cnn_cli.parallel.ranks import ALONE
from cnn_cli.report.text.table import format_table
from cnn_cli.runs.folder import METRICS, RunFolder
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.precise_bn import estimate_statistics
from cnn_cli.training.progress import Silent
from cnn_cli.training.requests import Requests
from cnn_cli.training.session import Hook, Session, open_session
from cnn_cli.training.setup import prepare
from cnn_cli.training.trainer import Trainer

BATCH = 256
EMA, MEAN = "moving average", "mean of the last quarter"


def main() -> None:
    parser = argparse.ArgumentParser(description="Compares rules that choose an epoch.")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train once, and save the scores of each epoch")
    train.add_argument("config")
    train.add_argument("data", type=Path, help="a folder of class folders")
    train.add_argument("--name", required=True, help="name of the data set in the table")
    train.add_argument("--train", type=int, default=2000, help="images to train on")
    train.add_argument("--scored", type=int, default=5400, help="images to score")
    train.add_argument("--seed", type=int, default=0, help="seed of the sample and the training")
    train.add_argument("--output", type=Path, required=True, help="folder for scores and metrics")
    score = commands.add_parser("score", help="print the table")
    score.add_argument("folder", type=Path, help="output folder of train")
    score.add_argument(
        "--validation", type=int, default=400, help="validation images that a rule sees"
    )
    score.add_argument("--draws", type=int, default=500, help="validation sets drawn per run")
    score.add_argument("--csv", type=Path, help="write one row per run and rule")
    options, more = parser.parse_known_args()
    if options.command == "train":
        train_one(options, more)
    else:
        print_table(options.folder, options.validation, options.draws, options.csv)


# --- training ---


class Keeper(Hook):
    """Scores the images after each epoch, and with averaged weights after the last one.

    Attributes:
        averages: losses and correctness of the images, by kind of average.

    Args:
        session: the training.
        list_file: the label list; its part `test` is scored.
    """

    def __init__(self, session: Session, list_file: Path) -> None:
        setup = session.setup
        split = open_labeled(list_file, setup.dataset.classes, "test")
        cache = ImageCache.open("ram", split.paths, session.data.preprocess)
        self._loader = Loader(split, cache, BATCH, setup.threads, "error")
        self._ema = Ema(session.learner.params, 1 - 1 / setup.updates_per_epoch)
        self._kept: list[Parameters] = []
        self._losses: list[Array] = []
        self._right: list[Array] = []
        self.averages: dict[str, tuple[Array, Array]] = {}

    def after_step(self, session: Session, images: int) -> None:
        self._ema.update(session.learner.params, session.steps_done, 0)

    def after_epoch(self, session: Session) -> None:
        losses, right = self._score(session, session.evaluated)
        self._losses.append(losses)
        self._right.append(right)
        epoch, epochs = session.state.epoch, session.setup.epochs
        if epoch > epochs - max(1, epochs // 4):
            self._kept.append(session.learner.weights.copy())
        if epoch == epochs:
            self.averages[EMA] = self._score(session, self._ema.params)
            self.averages[MEAN] = self._score(session, self._mean(session))

    def scores(self) -> dict[str, Array]:
        """Return losses and correctness, (epochs, images), and those of averaged weights."""
        averaged = {
            f"{name} {what}": values
            for name, pair in self.averages.items()
            for what, values in zip(("losses", "right"), pair, strict=True)
        }
        return {"losses": np.array(self._losses), "right": np.array(self._right)} | averaged

    def _score(self, session: Session, params: Parameters) -> tuple[Array, Array]:
        found = evaluate(session.engine, self._loader, params)
        return found.losses.astype(np.float32), found.right

    def _mean(self, session: Session) -> Parameters:
        """Average the kept weights and estimate statistics for them (Izmailov et al. 2018)."""
        mean, evaluated = self._kept[0].copy(), self._kept[0].copy()
        mean.flat[...] = np.mean([each.flat for each in self._kept], axis=0)
        mean.touch()
        setup, data = session.setup, session.data
        awaited = session.requests.awaited
        epoch = session.state.epoch
        estimate_statistics(
            session.engine, mean, evaluated, data, setup.config, epoch, ALONE, awaited
        )
        return evaluated


def train_one(options: argparse.Namespace, more: list[str]) -> None:
    name = f"{options.name}-{options.seed}"
    with tempfile.TemporaryDirectory() as folder:
        list_file = Path(folder, "images.csv")
        write_list(list_file, options.data, options.train, options.scored, options.seed)
        given = {"data.root": str(list_file), "data.val_split": 0, "train.seed": options.seed}
        config = load_config(options.config, more, given)
        scores, metrics = run(config, options.config, list_file, Path(folder, "run"))
        options.output.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(options.output / f"{name}.npz", allow_pickle=False, **scores)
        shutil.copy(metrics, options.output / f"{name}.csv")


def write_list(list_file: Path, data: Path, train: int, scored: int, seed: int) -> None:
    """Write a label list of randomly chosen images with the parts `train` and `test`."""
    paths = sorted(path for path in data.resolve().glob("*/*") if path.is_file())
    if train + scored > len(paths):
        sys.exit(f"{data} has only {len(paths):,} images")
    chosen = random.Random(seed).sample(paths, train + scored)
    with list_file.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "split"))
        for i, path in enumerate(chosen):
            rows.writerow((path, path.parent.name, "train" if i < train else "test"))


def run(
    config: Config, source: str, list_file: Path, folder: Path
) -> tuple[dict[str, Array], Path]:
    """Train; return the scores by name, and the path of the run's metrics."""
    setup = prepare(config, source, TrainOptions(threads=1), {})
    with RunFolder(folder) as place:
        trainer = Trainer(open_session(setup, place, None, Silent(), Requests()))
        keeper = Keeper(trainer.session, list_file)
        trainer.hooks.append(keeper)
        try:
            trainer.run_epochs()
        finally:
            trainer.close()
    return keeper.scores(), folder / METRICS


# --- scoring ---


@dataclass(frozen=True)
class Choice:
    """The result of a rule for one run, as means over the drawn validation sets.

    Attributes:
        told: accuracy of the chosen epoch on the validation images.
        held: its accuracy on the other images.
    """

    told: float
    held: float


def highest(accuracy: Array, loss: Array) -> int:
    """Return the epoch with the highest accuracy; ties go to the lower loss."""
    return int(np.lexsort((loss, -accuracy))[0])


def running(epochs: int) -> Callable[[Array, Array], int]:
    """Return a rule: of consecutive epochs with the highest mean accuracy, choose the last one."""

    def choose(accuracy: Array, loss: Array) -> int:
        window = np.ones(epochs) / epochs
        return highest(
            np.convolve(accuracy, window, "valid"), np.convolve(loss, window, "valid")
        ) + (epochs - 1)

    return choose


RULES: Mapping[str, Callable[[Array, Array], int]] = {
    "highest accuracy": highest,
    "least loss": lambda _, loss: int(loss.argmin()),
    "mean of 3 epochs": running(3),
    "mean of 5 epochs": running(5),
    "last epoch": lambda accuracy, _: len(accuracy) - 1,
}


def choices(scores: Mapping[str, Array], validation: int, draws: int) -> dict[str, Choice]:
    """Return the result of each rule for one run."""
    losses, right = scores["losses"].astype(np.float64), scores["right"].astype(np.float64)
    images, rng = right.shape[1], np.random.default_rng(0)
    found = defaultdict(list)
    for _ in range(draws):
        seen = np.zeros(images, bool)
        seen[rng.choice(images, validation, replace=False)] = True
        told, held = right[:, seen].mean(axis=1), right[:, ~seen].mean(axis=1)
        loss = losses[:, seen].mean(axis=1)
        for name, choose in RULES.items():
            epoch = choose(told, loss)
            found[name].append((told[epoch], held[epoch]))
        for name in (EMA, MEAN):
            averaged = scores[f"{name} right"]
            found[name].append((averaged[seen].mean(), averaged[~seen].mean()))
        found["best on the others"].append((told[held.argmax()], held.max()))
    return {name: Choice(*np.mean(pairs, axis=0)) for name, pairs in found.items()}


def print_table(folder: Path, validation: int, draws: int, output: Path | None) -> None:
    sets: dict[str, list[dict[str, Choice]]] = defaultdict(list)
    rows = []
    for file in sorted(folder.glob("*.npz")):
        name, _, seed = file.stem.rpartition("-")
        with np.load(file) as scores:
            found = choices(scores, validation, draws)
        sets[name].append(found)
        rows += [
            (name, seed, rule, f"{each.told:.4f}", f"{each.held:.4f}")
            for rule, each in found.items()
        ]
    if output is not None:
        with output.open("w", newline="") as sheet:
            writer = csv.writer(sheet)
            writer.writerow(("set", "seed", "rule", "validation", "others"))
            writer.writerows(rows)
    header = ("set", "rule", "validation", "others", "too high by", "gain", "its deviation")
    table = []
    for name, runs in sets.items():
        for rule in runs[0]:
            told = float(np.mean([each[rule].told for each in runs]))
            held = float(np.mean([each[rule].held for each in runs]))
            gains = [each[rule].held - each["highest accuracy"].held for each in runs]
            spread = f"{np.std(gains, ddof=1):.4f}" if len(runs) > 1 else ""
            table.append(
                (
                    f"{name}, {len(runs)} runs",
                    rule,
                    f"{told:.4f}",
                    f"{held:.4f}",
                    f"{told - held:+.4f}",
                    f"{np.mean(gains):+.4f}",
                    spread,
                )
            )
    print(format_table(header, table, "llrrrrr"), end="")


if __name__ == "__main__":
    main()
