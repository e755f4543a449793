"""Limits of control groups, read from synthetic ``/proc`` and ``/sys``."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnn_cli import portable
from cnn_cli.system import (
    available_memory,
    cpu_count,
    in_memory,
    on_network,
    user_cache_folder,
    versions,
)

MIB = 2**20

V2 = "0::/user/job\n"
V2_MOUNT = "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
V1 = "5:cpu,cpuacct:/job\n4:memory:/job\n0::/\n"
V1_MOUNTS = (
    "31 20 0:27 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "32 20 0:28 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory\n"
)


def system(root: Path, files: dict[str, str], available: int = 1000) -> Path:
    """Create a root folder with `files`; `available` MiB of memory."""
    files = {"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable: {available * 1024} kB\n"} | files
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def test_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu_count(tmp_path) == 8
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert cpu_count(tmp_path) == 3


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("150000 100000", 2), ("10000 100000", 1), ("9000000 100000", 8), ("", 8)],
)
def test_quota_of_version_2(tmp_path: Path, quota: str, cores: int) -> None:
    files = {
        "proc/self/cgroup": V2,
        "proc/self/mountinfo": V2_MOUNT,
        "sys/fs/cgroup/user/job/cpu.max": quota,
    }
    assert cpu_count(system(tmp_path, files)) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("250000", 3), ("1000", 1)])
def test_quota_of_version_1(tmp_path: Path, quota: str, cores: int) -> None:
    files = {
        "proc/self/cgroup": V1,
        "proc/self/mountinfo": V1_MOUNTS,
        "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": quota,
        "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000",
    }
    assert cpu_count(system(tmp_path, files)) == cores


def test_a_parents_quota_holds_too(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": V2,
        "proc/self/mountinfo": V2_MOUNT,
        "sys/fs/cgroup/user/job/cpu.max": "400000 100000",
        "sys/fs/cgroup/user/cpu.max": "300000 100000",
    }
    assert cpu_count(system(tmp_path, files)) == 3


@pytest.mark.parametrize("mounted", ["/docker/x", "/other"])
def test_inside_a_container_the_mount_is_the_group(tmp_path: Path, mounted: str) -> None:
    files = {
        "proc/self/cgroup": "0::/docker/x\n",
        "proc/self/mountinfo": V2_MOUNT.replace("0:26 /", f"0:26 {mounted}"),
        "sys/fs/cgroup/cpu.max": "200000 100000",
    }
    assert cpu_count(system(tmp_path, files)) == 2


def test_memory_without_groups(tmp_path: Path) -> None:
    assert available_memory(system(tmp_path, {})) == 1000 * MIB


def test_memory_where_the_system_does_not_say(tmp_path: Path) -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert available_memory(tmp_path) == total // 2


@pytest.mark.parametrize(
    ("limit", "high", "free"),
    [
        ("max", "max", 1000),
        (str(300 * MIB), "max", 220),
        ("max", str(200 * MIB), 120),
        ("1", "max", 0),
    ],
)
def test_memory_of_version_2(tmp_path: Path, limit: str, high: str, free: int) -> None:
    group = "sys/fs/cgroup/user/job"
    stat = f"anon {70 * MIB}\nfile {40 * MIB}\nactive_file {10 * MIB}\ninactive_file {20 * MIB}\n"
    files = {
        "proc/self/cgroup": V2,
        "proc/self/mountinfo": V2_MOUNT,
        f"{group}/memory.max": limit,
        f"{group}/memory.high": high,
        f"{group}/memory.current": str(110 * MIB),
        f"{group}/memory.stat": stat,
    }
    assert available_memory(system(tmp_path, files)) == free * MIB


@pytest.mark.parametrize(("limit", "free"), [(9223372036854771712, 1000), (300 * MIB, 220)])
def test_memory_of_version_1(tmp_path: Path, limit: int, free: int) -> None:
    group = "sys/fs/cgroup/memory/job"
    files = {
        "proc/self/cgroup": V1,
        "proc/self/mountinfo": V1_MOUNTS,
        f"{group}/memory.limit_in_bytes": str(limit),
        f"{group}/memory.usage_in_bytes": str(110 * MIB),
        f"{group}/memory.stat": f"total_active_file {10 * MIB}\ntotal_inactive_file {20 * MIB}\n",
    }
    assert available_memory(system(tmp_path, files)) == free * MIB


@pytest.mark.parametrize(("left", "free"), [(None, 1000), (400, 336), (10, 0)])
def test_memory_of_limited_address_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int | None, free: int
) -> None:
    nbytes = None if left is None else left * MIB
    monkeypatch.setattr(portable, "address_space_left", lambda: nbytes)
    assert available_memory(system(tmp_path, {})) == free * MIB
    each = min(free, 500)  # memory is shared, address spaces are not
    assert available_memory(system(tmp_path, {}), processes=2) == each * MIB


def test_this_machine() -> None:
    assert cpu_count() >= 1
    assert available_memory() > 0


FREED = """
import re
from pathlib import Path
import numpy as np
from cnn_cli.portable import return_free_memory
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
blocks = [np.ones(100_000, np.uint8) for _ in range(500)]
del blocks[:-1]  # the last one keeps the memory before it
before = resident()
return_free_memory()
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc keeps freed memory")
def test_freed_memory_is_returned() -> None:
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 40_000  # of 50,000 kB


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert user_cache_folder() == Path("/somewhere/cnn")
    monkeypatch.setenv("HOME", "/home/me")
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert user_cache_folder() == Path("/home/me/.cache/cnn")
    monkeypatch.setenv("HOME", "nowhere")
    monkeypatch.setattr("tempfile.tempdir", "/temporary")
    assert user_cache_folder() == Path("/temporary/cnn")


def test_folders_in_memory(tmp_path: Path) -> None:
    mounts = (
        "20 1 0:1 / / rw - ext4 /dev/sda rw\n"
        f"21 20 0:2 / {tmp_path}/with\\040space rw - tmpfs tmpfs rw\n"
        f"22 20 0:3 / {tmp_path}/with\\040space/disk rw - xfs /dev/sdb rw\n"
    )
    root = system(tmp_path, {"proc/self/mountinfo": mounts})
    assert in_memory(tmp_path / "with space" / "deeper", root)
    assert not in_memory(tmp_path / "with space" / "disk", root)
    assert not in_memory(tmp_path, root)
    assert not in_memory(tmp_path, tmp_path / "no such root")


def test_folders_on_the_network(tmp_path: Path) -> None:
    kinds = ("ext4", "nfs4", "cifs", "fuse.sshfs", "fuseblk")  # NTFS on a disk is a `fuseblk`
    mounts = "".join(
        f"{i} 1 0:1 / {tmp_path}/{kind} rw - {kind} x rw\n" for i, kind in enumerate(kinds)
    )
    root = system(tmp_path, {"proc/self/mountinfo": mounts})
    found = [kind for kind in kinds if on_network(tmp_path / kind / "inbox", root)]
    assert found == ["nfs4", "cifs", "fuse.sshfs"]
    assert not on_network(tmp_path, tmp_path / "no such root")


def test_versions() -> None:
    found = versions()
    assert list(found)[:3] == ["python", "numpy", "pillow"]
    assert found["numpy"] == np.__version__
    assert list(found)[-1] == "system"


@pytest.mark.parametrize(
    ("limits", "heeded"),
    [
        ("100, 100", "(90, 100)"),
        ("30, 30", "(25, 30)"),
        ("5, 5", "(3, 5)"),
        ("50, 100", "(50, 100)"),
        ("2000, 2000", "(1940, 2000)"),
    ],
)
def test_a_limit_of_cpu_time_is_told_of_before_it_kills(limits: str, heeded: str) -> None:
    pytest.importorskip("resource")
    script = (
        "import resource\n"
        "from cnn_cli.portable import heed_cpu_limit\n"
        f"resource.setrlimit(resource.RLIMIT_CPU, ({limits}))\n"
        "heed_cpu_limit()\n"
        "print(resource.getrlimit(resource.RLIMIT_CPU))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == (f"{heeded}\n", "")
