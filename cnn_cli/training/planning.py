"""`--dry-run`: check what can be checked without reading images, and write nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cnn_cli.config import Config
from cnn_cli.files import check_could_write
from cnn_cli.nn.memory import parameter_count
from cnn_cli.parallel.ranks import ALONE, Ranks
from cnn_cli.runs.checkpoint import LAST
from cnn_cli.runs.folder import choose_folder, fold_folder
from cnn_cli.training.folds import check_folder, check_images, fold_configs
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.setup import prepare
from cnn_cli.training.train import check_alone, check_given, load_resumable, with_own_weights


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What a training would do.

    Attributes:
        threads, memory_bytes: of each process.
        recompute: the multiply-adds added by recomputing activations, as a fraction; 0 without it.
    """

    run: Path
    classes: tuple[str, ...]
    train_images: int
    val_images: int
    parameters: int
    epochs: int
    steps_per_epoch: int
    processes: int
    threads: int
    backend: str
    memory_bytes: int
    recompute: float
    remarks: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {
            "run": str(self.run),
            "classes": list(self.classes),
            "remarks": list(self.remarks),
        }


def plan_training(
    config: Config,
    source: str,
    options: TrainOptions,
    ranks: Ranks = ALONE,
    folds: int | None = None,
) -> TrainingPlan:
    """Check folder, config, data and memory, as `train` or `train_folds` does; write nothing.

    Args:
        config, source, options, ranks: as in `train`.
        folds: number of folds, the first of which is planned; None for one training.

    Raises:
        CnnError: what they would raise before their first step.
    """
    configs = [config] if folds is None else fold_configs(config, source, folds)
    check_given(config, source, options, ranks)
    folder = choose_folder(options.out, source, resume=options.resume, overwrite=options.overwrite)
    place = folder
    if folds is None:
        check_alone(folder, options)
    else:
        check_folder(folder, folds, options)
        place = fold_folder(folder, 1)
    check_could_write(folder)
    meta: Mapping[str, Any] = {}
    remarks: list[str] = []
    if options.resume:
        if (place / LAST).exists():
            meta = load_resumable(place / LAST, configs[0], source).meta
            with_own_weights(config, meta, remarks.append)
        if folds is not None:
            check_images(folder, configs, source)
    setup = prepare(configs[0], source, options, meta, ranks)
    dataset = setup.dataset
    return TrainingPlan(
        run=folder,
        classes=dataset.classes,
        train_images=len(dataset.train),
        val_images=0 if dataset.val is None else len(dataset.val),
        parameters=parameter_count(setup.graph),
        epochs=config.train.epochs,
        steps_per_epoch=setup.steps_per_epoch,
        processes=ranks.processes,
        threads=setup.threads,
        backend=setup.backend,
        memory_bytes=setup.memory.nbytes,
        recompute=setup.memory.cost,
        remarks=(*remarks, *setup.remarks),
    )
