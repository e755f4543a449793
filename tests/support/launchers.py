"""The program as several processes: started by `mpiexec`, or by itself for `train.processes`."""

from __future__ import annotations

import pytest
from cli_program import Outcome, process
from mpiexec import mpiexec, needs_mpi, together

from cnn_cli.portable import can_share_memory

needs_memory = pytest.mark.skipif(not can_share_memory(), reason="needs memory without a name")

LAUNCHERS = [
    pytest.param("mpiexec", marks=needs_mpi),
    pytest.param("processes", marks=needs_memory),
]

DEEP = """
data: {image_size: 32, channels: 1}
augment: {hflip: 0.5, pad_crop: 4}
model:
  layers:
    - repeat:
        times: 3
        layers:
          - conv: {out_channels: 48, kernel_size: 3, padding: 1, bias: false}
          - batchnorm
          - relu
    - global_avgpool
    - linear: classes
train: {epochs: 2, batch_size: 128, optimizer: {type: sgd, lr: 0.1}}
"""
"""A network that uses its weights often: its sums do not depend on who computes them."""


def several(launcher: str, count: int, *line: object) -> Outcome:
    """Run a training as so many processes."""
    if launcher == "mpiexec":
        return mpiexec(together(count, *line))
    return process(*line, f"train.processes={count}")
