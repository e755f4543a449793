"""The page for scripts and cron: everything in its section runs, on a few small images."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hardship import Field, contents, make_field, metrics_of, weights_of
from patience import PATIENCE

from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint
from cnn_cli.runs.folder import RunFolder

ROOT = Path(__file__).parent.parent.parent
HOME = "/srv/photos"
SCHEDULE = re.compile(r"^(?:\S+ ){5}(?=cd )")
MOVE = " && mv "


def section() -> str:
    """Return the text of the section."""
    text = (ROOT / "cnn_cli/docs/scripts.md").read_text(encoding="utf-8")
    found = re.search(r"^## Unattended training with cron\n(.*)", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def lines() -> list[str]:
    """Return the command lines: the indented lines outside fences."""
    outside = re.sub(r"^```.*?^```", "", section(), flags=re.DOTALL | re.MULTILINE)
    return [line.strip() for line in outside.splitlines() if line.startswith("    ")]


def blocks(language: str) -> list[str]:
    """Return the content of fences of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", section(), re.DOTALL | re.MULTILINE)
    return [block for name, block in found if name == language]


def units() -> list[configparser.ConfigParser]:
    """Return the fenced ini blocks."""
    parsed = []
    for block in blocks("ini"):
        unit = configparser.ConfigParser(interpolation=None, strict=True)
        unit.optionxform = str  # type: ignore[assignment,method-assign]  # as its documentation says
        unit.read_string(block)
        parsed.append(unit)
    return parsed


@pytest.fixture
def home(tmp_path: Path, field: Field, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the section, with a `cnn` on the path."""
    home = tmp_path / "srv"
    shutil.copytree(field.pictures, home / "photos")
    shutil.copytree(home / "photos/val", home / "photos/test")
    (home / "configs").mkdir()
    text = field.config.read_text().replace("root: pictures", "root: ../photos")
    (home / "configs/x.yaml").write_text(text)
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "cnn"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m cnn_cli "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    return home


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    return make_field(tmp_path_factory.mktemp("field"), train=20, val=8, epochs=4)


def sh(line: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of the section, with the folder's name replaced."""
    line = SCHEDULE.sub("", line).replace(HOME, str(home))
    return subprocess.run(
        ["sh", "-c", line], cwd=home, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def outcome(line: str, home: Path) -> tuple[int, str]:
    """Return the exit code, and everything that cron would mail."""
    done = sh(line, home)
    return done.returncode, done.stdout + done.stderr


def test_there_is_nothing_else_in_it() -> None:
    cron, often, check, copy, gate = lines()
    assert SCHEDULE.match(cron)
    assert "cnn train configs/x.yaml --out models/x --resume --time-limit 25m --quiet" in cron
    assert [line.split()[0] for line in (often, check, copy, gate)] == ["cnn", "cnn", "cp", "cnn"]
    service, timer = units()
    assert (service.sections(), timer.sections()) == (["Service"], ["Timer", "Install"])


def test_the_cron_line(home: Path) -> None:
    """Stopped by its time limit, by a lock, finished, and continued."""
    cron = lines()[0]
    run = home / "models/x"
    short = cron.replace("--time-limit 25m", "--time-limit 0.01s")
    for steps in (1, 2):
        assert outcome(short, home) == (75, "")
        assert (run / "last.npz").exists(), steps
    with RunFolder(run):
        assert outcome(cron, home) == (7, "")
    assert outcome(cron, home) == (0, "")
    assert len(metrics_of(run)) == 4
    before = contents(run)
    assert outcome(cron, home) == (0, "")
    assert contents(run) == before
    more = cron.replace("x.yaml", "x.yaml train.epochs=5")
    assert outcome(more, home) == (0, "")
    assert len(metrics_of(run)) == 5
    (home / "photos/train").rename(home / "photos/gone")
    code, mail = outcome(cron.replace("x.yaml", "x.yaml train.epochs=6"), home)
    assert (code, mail.count("\n")) == (4, 1)
    assert mail.startswith(f"cnn: {home}/photos")


def test_checkpoints_within_an_epoch(home: Path) -> None:
    cron, often, *_ = lines()
    assert outcome(often, home) == (0, "")
    often_weights = weights_of(home / "models/x")
    shutil.rmtree(home / "models")
    assert outcome(cron, home) == (0, "")
    assert weights_of(home / "models/x") == often_weights


def test_the_check_beforehand(home: Path) -> None:
    before = contents(home)
    code, said = outcome(lines()[2], home)
    assert code == 0, said
    assert "run folder   models/x" in said
    assert contents(home) == before


def test_the_gate(home: Path) -> None:
    """The deployed model stays if the new one is not good enough."""
    cron, _, _, copy, gate = lines()
    assert MOVE in gate
    assert outcome(cron, home) == (0, "")
    live = home / "models/live.npz"
    assert outcome(copy, home) == (0, "")
    shutil.copy(home / "models/x/best.npz", live)
    checkpoint = load_checkpoint(live)
    checkpoint.meta["program_version"] = "the old one"
    save_checkpoint(live, checkpoint)
    old = live.read_bytes()
    code, said = outcome(gate.replace("top1=0.8", "top1=1.1"), home)
    assert code == 2, said  # the maximum is 1
    done = sh(re.sub("top1=0.8", "loss=0.000001", gate), home)
    assert (done.returncode, done.stderr.count("\n")) == (6, 1)
    assert live.read_bytes() == old
    assert outcome(gate, home)[0] == 0
    assert live.read_bytes() == (home / "models/x/best.npz").read_bytes()
    assert not (home / "models/new.npz").exists()


def test_the_service(home: Path) -> None:
    service, timer = units()
    start = service["Service"]["ExecStart"]
    program, *arguments = shlex.split(start)
    assert os.path.isabs(program)  # systemd requires it
    assert service["Service"]["WorkingDirectory"] == HOME
    assert service["Service"]["SuccessExitStatus"].split() == ["7", "75"]
    assert outcome(shlex.join([Path(program).name, *arguments]), home) == (0, "")
    assert timer["Timer"]["OnCalendar"] == "*:0/30"
    analyze = shutil.which("systemd-analyze")
    if analyze is not None:
        done = subprocess.run([analyze, "calendar", "*:0/30"], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_log(home: Path) -> None:
    """It can be truncated during writing: later output continues at its new end."""
    (block,) = blocks("")
    assert block.split()[0] == f"{HOME}/cnn.log"
    assert "copytruncate" in block.split()
    log = home / "cnn.log"
    line = lines()[0].replace(" --quiet", " 2>> cnn.log")
    assert outcome(line.replace("25m", "0.01s"), home)[0] == 75
    log.write_bytes(b"")
    assert outcome(line, home)[0] == 0
    said = log.read_text().splitlines()
    assert said[-1].startswith("epoch 4/4: ")
    assert all(each.startswith("epoch ") for each in said)
    rotate = shutil.which("logrotate")
    if rotate is not None:
        (home / "rotate").write_text(block.replace(HOME, str(home)))
        done = subprocess.run([rotate, "-d", home / "rotate"], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
