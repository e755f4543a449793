"""Create an environment with the lowest versions in pyproject.toml, to run the tests in.

    python tests/lowest_versions.py FOLDER
    FOLDER/bin/python -m pytest

Every requirement of the form `name>=version`, of the package and of all its extras, is installed as
`name==version`; pip chooses the versions of their dependencies.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]


def lowest(pyproject: Path) -> list[str]:
    """Return pip's requirements: every lower bound in `pyproject` as a fixed version."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    named = [project["dependencies"], *project["optional-dependencies"].values()]
    return sorted({re.sub(">=", "==", requirement) for group in named for requirement in group})


def make(folder: Path) -> None:
    """Create a virtual environment at `folder` with the package and its lowest requirements."""
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *lowest(ROOT / "pyproject.toml"), "--editable", str(ROOT)], check=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/lowest_versions.py FOLDER")
    make(Path(sys.argv[1]))
