"""How many processes on this computer share the batches: `train.processes`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnn_cli.config import Config, required_root
from cnn_cli.errors import CnnError, ConfigError
from cnn_cli.nn.backends import training_backend
from cnn_cli.parallel.ranks import ALONE, PROCESSES, PlannedRanks, Ranks
from cnn_cli.portable import can_share_memory
from cnn_cli.runs.checkpoint import LAST, load_checkpoint
from cnn_cli.runs.folder import choose_folder
from cnn_cli.system import cpu_count
from cnn_cli.training.measured import measured_metrics
from cnn_cli.training.memory import MemoryPlan
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.setup import NEW_RUN, choose_threads, open_network, plan_memory_of


@dataclass(frozen=True, slots=True)
class Processes:
    """How many processes share the batches.

    Attributes:
        count: their number.
        why: a note for the user if the program chose it; empty if the config did.
    """

    count: int
    why: str = ""


def choose_processes(
    config: Config, source: str, options: TrainOptions, ranks: Ranks = ALONE
) -> Processes:
    """Return the number of processes on this computer that share the batches: `train.processes`.

    `auto` is one for each core (or `--threads` cores), but not more than a batch has images, than
    the resumed run had, which keeps its bits, or than fit in memory; fewer if more would have to
    compute activations twice. It is 1 if the system has no shared memory.

    Args:
        config: the config of the training.
        source: its file, for messages.
        options: options of the command line.
        ranks: the ranks that mpiexec has started; their number is kept.

    Raises:
        ConfigError: more than one process under mpiexec, or more processes than images in a batch.
        CnnError: with `auto`, images or network do not fit the config.
    """
    asked, most, place = config.train.processes, config.train.batch_size, f"{source}: {PROCESSES}"
    if ranks.size > 1:
        if asked not in (1, "auto"):
            raise ConfigError(place, "must be 1 under mpiexec, which starts the processes", asked)
        return Processes(1)
    if asked != "auto":
        if asked > most:
            rule = f"must not be above train.batch_size, which is {most}"
            raise ConfigError(place, rule, asked)
        return Processes(asked if can_share_memory() else 1)
    if not can_share_memory():
        return _chosen(1, "several need Linux")
    cores, meta = cpu_count(), _meta_before(options, source)
    each = options.threads or 1
    limits = {
        "one for each core" if each == 1 else f"one for every {each} of {cores} cores": max(
            1, cores // each
        ),
        "one for each image of a batch": most,
    }
    if meta:
        limits["as many as the run had"] = meta.get("ranks", 1)
    why, count = min(limits.items(), key=lambda limit: limit[1])
    # Fewer leave no core idle.
    counts = [count, *(n for n in range(count - 1, 0, -1) if cores // each % n == 0)]
    root = Path(required_root(config, source))
    # A list that comes through a pipe can be read only once.
    if count > 1 and (root.is_dir() or root.is_file()):
        fewer, reason = _that_fit(config, source, options, meta, counts)
        if fewer < count:
            return _chosen(fewer, f"not {count}: {reason}")
    return _chosen(count, why)


def _chosen(count: int, why: str) -> Processes:
    return Processes(count, f"{PROCESSES}: {count}, {why}")


def _that_fit(
    config: Config,
    source: str,
    options: TrainOptions,
    meta: Mapping[str, Any],
    counts: Sequence[int],
) -> tuple[int, str]:
    """Return the first number of processes that fit in memory, and why not an earlier one.

    Numbers that need not compute activations twice come first. If none fits, it is 1.
    """
    dataset, graph = open_network(config, source, meta=meta)
    measured = measured_metrics(config, source, dataset, options.gates)
    backend = training_backend(options.backend, meta.get("backend"))
    limit = "memory" if options.memory is None else "--memory"
    plans: dict[int, MemoryPlan] = {}
    for count in counts:
        job = PlannedRanks(count)
        threads = choose_threads(options, meta, job)
        with suppress(ConfigError):
            plans[count] = plan_memory_of(
                config, source, options, dataset, graph, measured, threads, backend, job
            )
    once = [n for n, plan in plans.items() if config.train.recompute is True or not plan.recompute]
    if once and counts[0] in plans:
        return once[0], f"more would compute activations twice to fit in {limit}"
    return [*once, *plans, 1][0], f"more do not fit in {limit}"


def _meta_before(options: TrainOptions, source: str) -> Mapping[str, Any]:
    """Return the metadata of the resumed run; empty if it is new or has no readable checkpoint."""
    if options.resume:
        with suppress(CnnError):
            folder = choose_folder(options.out, source, resume=True, overwrite=False)
            return load_checkpoint(folder / LAST, ()).meta
    return NEW_RUN
