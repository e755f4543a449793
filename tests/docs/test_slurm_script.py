"""The page's Slurm script, with stand-ins for Slurm's programs: mpiexec acts as srun."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hardship import make_field
from mpiexec import MPIEXEC, needs_mpi
from patience import PATIENCE

from cnn_cli.cli.docs import page_text
from cnn_cli.runs.checkpoint import load_checkpoint

STOPPED_LATE: dict[str, Any] = {
    "epochs": 100_000,
    "scheduler": {"type": "constant", "warmup_epochs": 0},
    "precise_bn": False,
}
SRUN = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do shift; done
echo $$ > srun.pid
exec MPIEXEC -n 2 "$@" --backend numpy --threads 1 --quiet $MORE
"""


def script() -> str:
    found = re.search(r"^```\n(#!/bin/bash\n.*?)^```$", page_text("several-machines"), re.S | re.M)
    assert found is not None
    return found[1]


def test_slurm_signals_the_ranks_and_not_srun() -> None:
    """srun would be killed by it (Slurm's srun_job.c), as by a signal from a shell's trap."""
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", script(), re.M))
    assert options["signal"].startswith("TERM@")
    assert "trap" not in script()
    ranks = int(options["nodes"]) * int(options["ntasks-per-node"])
    assert f" data.shards={ranks} " in script()


@needs_mpi
def test_a_job_is_queued_again_until_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = make_field(tmp_path, **STOPPED_LATE)
    field.config.rename(tmp_path / "config.yaml")
    (tmp_path / "job").write_text(script())
    for name, text in (
        ("srun", SRUN.replace("MPIEXEC", shlex.quote(str(MPIEXEC)))),
        ("scontrol", '#!/bin/sh\necho "$@" >> requests\n'),
        ("cnn", f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m cnn_cli "$@"\n'),
    ):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    requests, last = tmp_path / "requests", tmp_path / "run/last.npz"

    def start(more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "job"],
            cwd=tmp_path,
            env=os.environ | {"MORE": more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    job = start("")
    until = time.monotonic() + PATIENCE
    while not last.exists():
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(int((tmp_path / "srun.pid").read_text()), signal.SIGTERM)  # mpiexec forwards it
    assert (job.communicate(timeout=PATIENCE)[0], job.returncode) == ("", 75)
    assert requests.read_text() == "requeue 17\n"
    meta = load_checkpoint(last).meta
    assert meta["ranks"] == 2

    job = start(f"train.epochs={meta['epoch'] + 1}")
    assert (job.communicate(timeout=PATIENCE)[0], job.returncode) == ("", 0)
    assert load_checkpoint(last).meta["epoch"] == meta["epoch"] + 1
    assert requests.read_text() == "requeue 17\n"
