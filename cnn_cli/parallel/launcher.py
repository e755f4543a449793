"""How this process was started, and with how many others, as environment variables tell it.

MPI is imported only if there is more than one process.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from cnn_cli.errors import UsageError
from cnn_cli.parallel.ranks import ALONE, Ranks

DESCRIPTORS, COUNT, NUMBER = "CNN_DESCRIPTORS", "CNN_PROCESSES", "CNN_PROCESS"
"""Environment variables of a worker process that this program started: its open files (the shared
memory and the lifeline), the number of processes, and its own number.
"""
# Environment variables with the number of processes: of this program, Hydra (MPICH, Intel), Slurm's
# PMI and MVAPICH, then Open MPI. PMIx has none, so Slurm's task count is used.
COUNTS = (COUNT, "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
NUMBERS = (NUMBER, "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMIX_RANK")


def started_ranks(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of processes of this job, as the launcher reports it; 1 without a
    launcher.
    """
    names = (*COUNTS, "SLURM_STEP_NUM_TASKS") if "PMIX_RANK" in environment else COUNTS
    return _first_number(environment, names, 1)


def started_as(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of this process among them, from 0."""
    return _first_number(environment, NUMBERS, 0)


def _first_number(environment: Mapping[str, str], names: Sequence[str], otherwise: int) -> int:
    values = (environment.get(name, "") for name in names)
    return next((int(value) for value in values if value.isdecimal()), otherwise)


def is_worker(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether another process of this program started this one, to work with it."""
    return DESCRIPTORS in environment


def open_ranks() -> Ranks:
    """Return the ranks of this job.

    Raises:
        UsageError: there are several, and mpi4py is missing or uses another MPI.
    """
    count = started_ranks()
    if count <= 1:
        return ALONE
    if find_spec("mpi4py") is None:
        rule = "several processes need mpi4py; install it with pip install 'cnn-cli[mpi]'"
        raise UsageError("mpiexec", rule)
    from cnn_cli.parallel.mpi import MpiRanks

    return MpiRanks.open(count)
