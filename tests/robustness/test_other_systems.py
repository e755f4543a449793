"""Train, evaluate and predict without features specific to Linux or Unix."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from learnable import make_pictures
from patience import PATIENCE

from cnn_cli import portable
from cnn_cli.portable import free_memory, free_of_vm_stat

# Removes modules and calls, and replaces msvcrt by a stand-in.
WITHOUT = """
import importlib.abc, os, signal, subprocess, sys, types
import fcntl, tempfile, shutil, select
system = sys.argv.pop(1)
LINUX = ("sched_getaffinity sched_setaffinity sched_yield memfd_create posix_fallocate O_TMPFILE "
    "getxattr setxattr listxattr eventfd").split()
UNIX = LINUX + ("fork sysconf readv writev O_CLOEXEC O_NOFOLLOW O_NONBLOCK fchmod fchown chown "
    "getuid geteuid getgid mkfifo killpg getpgid kill").split()
for name in LINUX if system == "macos" else UNIX:
    if hasattr(os, name):
        delattr(os, name)

class Refuse(importlib.abc.MetaPathFinder):
    names = {"resource", "termios", "tty", "pty", "pwd", "grp"} if system == "windows" else set()
    if system == "windows":
        names.add("fcntl")

    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
for name in Refuse.names:
    sys.modules.pop(name, None)
if system == "windows":
    del select.poll
    for name in "SIGHUP SIGUSR1 SIGUSR2 SIGALRM SIGQUIT SIGXCPU SIGPIPE setitimer".split():
        delattr(signal, name)
    msvcrt = types.ModuleType("msvcrt")
    msvcrt.LK_NBLCK = 2
    def locking(descriptor, mode, nbytes):
        assert (mode, nbytes, os.lseek(descriptor, 0, os.SEEK_CUR)) == (2, 1, 2**30)
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, nbytes, 0, os.SEEK_CUR)
        print("locked", file=sys.stderr)
    msvcrt.locking = locking
    sys.modules["msvcrt"] = msvcrt
opened = open
def refuse(file, *args, **options):
    if str(file).startswith(("/proc/", "/sys/")) and "maps" not in str(file):  # threadpoolctl's
        raise FileNotFoundError(2, "No such file or directory", str(file))
    return opened(file, *args, **options)
import builtins, io
builtins.open = io.open = refuse
from cnn_cli import portable
if system == "windows":
    portable.WINDOWS = True
from cnn_cli.cli.main import main
main()
"""


def program(system: str, *arguments: object, cwd: Path) -> tuple[int, str, str]:
    line = [sys.executable, "-c", WITHOUT, system, *map(str, arguments)]
    done = subprocess.run(
        line, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("system", ["macos", "windows"])
def test_it_trains_evaluates_and_predicts(system: str, tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures")
    (tmp_path / "c.yaml").write_text(CONFIG)
    line = ("train", "c.yaml", "--data", pictures, "--out", "run", "--backend", "numpy", "--quiet")
    code, out, err = program(system, *line, "--threads", 2, "train.epochs=1", cwd=tmp_path)
    locked = "locked\n" if system == "windows" else ""
    assert (code, out) == (0, ""), err
    assert err.replace("locked\n", "") == ""
    assert bool(err) == bool(locked)
    code, out, err = program(system, *line, "--resume", "train.epochs=2", cwd=tmp_path)
    assert (code, out, err.replace("locked\n", "")) == (0, "", "")
    code, out, err = program(system, "eval", "--ckpt", "run", "--json", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert '"top1":' in out
    picture = next(pictures.rglob("*.png"))
    line_ = ("predict", picture, "--ckpt", "run", "--output", "found.csv", "--format", "csv")
    assert program(system, *line_, cwd=tmp_path) == (0, "", "")
    assert (tmp_path / "found.csv").read_text().startswith("path,label,prob,error\n")


CONFIG = """\
data: {image_size: 8, channels: 1}
model:
  layers:
    - conv: {out_channels: 4, kernel_size: 3, padding: 1}
    - batchnorm
    - relu
    - global_avgpool
    - linear: classes
train: {batch_size: 8}
"""

VM_STAT = """\
Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                                5000.
Pages active:                            300000.
Pages inactive:                          290000.
Pages speculative:                         1000.
Pages throttled:                              0.
Pages wired down:                         90000.
Pages purgeable:                           4000.
"Translation faults":                 123456789.
"""


def test_free_memory_of_macos() -> None:
    assert free_of_vm_stat(VM_STAT) == 300_000 * 16384
    assert free_of_vm_stat("") is None
    assert free_of_vm_stat("page size of 4096 bytes") is None


def test_free_memory_where_nobody_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sysconf")
    assert free_memory() == 2 * 2**30


def test_locks_without_any_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "_module", lambda name: None)
    with pytest.raises(portable.NoLocksError):
        portable.lock(0)
