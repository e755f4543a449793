"""Every command is documented with all its options, and every command line on the pages runs.

They run in a folder with a few tiny images under the names used on the pages, with arguments added
to make them short.
"""

from __future__ import annotations

import glob
import io
import os
import re
import shlex
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_program import Inside, call_inside, plainly
from make_pages import ROOT, below
from mpiexec import mpiexec, needs_mpi, together
from PIL import Image

from cnn_cli.cli.docs import page_names, page_text
from cnn_cli.cli.main import run
from cnn_cli.cli.shared.parser import program
from cnn_cli.config.networks import network_text

# Pages whose lines are run by other tests.
ELSEWHERE = {"scripts": "tests/robustness/test_cron_page.py"}
# Lines that cannot be run here; only their options are checked.
ONLY_READ = {
    "cnn predict --watch inbox": "has no end: tests/cli/test_predict_pipe.py",
    "cnn init photos": "measures for seconds: tests/cli/test_init_command.py",
    "cnn eval --ckpt runs/small --calibrate": "a network that is right: test_eval_calibration.py",
    "cnn import efficientnet-lite0": "weights that are fetched: tests/weights",
    "cnn import model.json": "weights that are fetched: tests/weights",
    "cnn import model.onnx": "an exported network: tests/interop/test_onnx_network.py",
    "cnn import model.keras": "a network of Keras: tests/interop/test_keras_network.py",
    "cnn import resnet18.safetensors": "weights that are fetched: tests/weights",
    "cnn export --ckpt runs/resnet18": "a large network: tests/interop/test_torchvision_names.py",
}
# Other exit codes of gates.
CODES = {"--fail-under": 6, "--strict": 4}
CLASSES = ("bag", "coat", "shirt")
EXTRAS = {"export": "onnx", "report": "matplotlib", "eval": "matplotlib", "explain": "matplotlib"}
EXTRAS |= {"lr": "matplotlib"}


def texts() -> Iterator[str]:
    yield (ROOT / "README.md").read_text(encoding="utf-8")
    for name in page_names():
        if name not in ELSEWHERE:
            yield page_text(name)


def lines() -> list[str]:
    """Return the command lines of the pages, each once, those that train first."""
    found: dict[str, None] = {}
    for text in texts():
        shown = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
        typed = re.findall(r"^    (\S.*)$", re.sub(r" \\\n +", " ", shown), re.MULTILINE)
        typed += re.findall(r"^\$ (.*)$", text, re.MULTILINE)
        found |= dict.fromkeys(line for line in typed if "[OPTIONS]" not in line)
    return [line for line in found if calls(line)]


def calls(line: str) -> list[list[str]]:
    """Return the words of each call of `cnn` in a shell line."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;>")
    lexer.whitespace_split = True
    parts: list[list[str]] = [[]]
    for word in lexer:
        if word in ("&&", "|", ";", ">"):
            parts.append([">"] if word == ">" else [])
        else:
            parts[-1].append(word)
    started = [part[part.index("cnn") :] if part[:1] == ["mpiexec"] else part for part in parts]
    return [part[1:] for part in started if part[:1] == ["cnn"]]


def is_only_read(line: str) -> bool:
    return any(line.startswith(start) for start in ONLY_READ)


def is_of_several(line: str) -> bool:
    """Whether several processes run it."""
    return line.startswith("mpiexec ")


def read(words: list[str]) -> str:
    """Parse the words of a call without running it; return the command."""
    command = program()
    context = command.make_context("cnn", list(words), resilient_parsing=True)
    rest = list(words)
    while hasattr(command, "list_commands"):
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, list(rest), parent=context)
    return str(context.command_path)


def shortened(words: list[str]) -> list[str]:
    """Add arguments that make a call short, and expand patterns as the shell does."""
    words = [each for word in words for each in sorted(glob.glob(word)) or [word]]
    if words[0] == "bench":
        words += ["--seconds", "0", "--batch-size", "2"]
    if words[0] in ("train", "bench") and "configs/seed.yaml" in words:
        words.append("data.image_size=64")
    if words[0] == "lr":
        words += ["--steps", "20"]
    if words[0] == "sweep":
        words += ["--trials", "2", "train.epochs=1"]
    if words[0] == "train" or (words[:2] == ["data", "doubt"] and words[2].endswith(".yaml")):
        words.append("train.epochs=1")
    return words


def save(path: Path, size: int, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(level).integers(0, 256, (size, size, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def pack(home: Path) -> None:
    """Write the images of `photos` as lists, an archive and shards."""
    files = [path.relative_to(home) for path in sorted((home / "photos").rglob("*.jpg"))]
    for name, header in (("labels", "path,label"), ("species", "path,species")):
        rows = [f"{path},{path.parent.name}" for path in files]
        (home / f"{name}.csv").write_text("\n".join([header, *rows]))
    tags = [f"{path},{path.parent.name}|{('calm', 'wild')[i % 2]}" for i, path in enumerate(files)]
    (home / "tags.csv").write_text("\n".join(["path,label", *tags]))
    lines = [f"{path} {('cat', 'dog').index(path.parent.name)}\n" for path in files]
    (home / "labels.txt").write_text("".join(lines))
    with zipfile.ZipFile(home / "photos.zip", "w") as made:
        for path in files:
            made.write(home / path, path.relative_to("photos"))
    for number in range(2):
        with tarfile.open(home / f"shards-{number:03}.tar", "w") as shard:
            for i, path in enumerate(files[number::2]):
                shard.add(home / path, f"{i}.jpg")
                label = path.parent.name.encode()
                info = tarfile.TarInfo(f"{i}.cls")
                info.size = len(label)
                shard.addfile(info, io.BytesIO(label))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pages' files, and a short run of each kind."""
    home = tmp_path_factory.mktemp("docs") / "home"
    (home / "configs").mkdir(parents=True)
    for name in ("small", "seed", "resnet20"):
        text = (ROOT / f"configs/{name}.yaml").read_text(encoding="utf-8")
        narrow = re.sub(r"out_channels: \d+", "out_channels: 4", text)
        (home / f"configs/{name}.yaml").write_text(narrow)
    text = (home / "configs/small.yaml").read_text()
    lite = text.replace("image_size: 28", "image_size: 16").replace("channels: 1 ", "channels: 3 ")
    for name in ("configs/efficientnet-lite0.yaml", "lite0.yaml"):
        (home / name).write_text(lite)
    text = text.replace("../data/fashion", "photos")
    (home / "photos.yaml").write_text(text.replace("image_size: 28", "image_size: 16"))
    for i, name in enumerate(CLASSES):
        for part in ("train", "val"):  # as in the repository
            for j in range(3):
                save(home / f"data/fashion/{part}/{name}/{j}.png", 28, 100 * i + 10 * len(part) + j)
    save(home / "data/fashion/val/bag/0018.png", 28, 99)
    for i, name in enumerate(("cat", "dog")):
        for j in range(5):
            save(home / f"photos/{name}/{j:02}.jpg", 36, 400 + 20 * i + j)
            save(home / f"films/{name}/film{j}_00{i}.jpg", 36, 500 + 20 * i + j)
    pack(home)
    save(home / "photo.jpg", 30, 300)
    save(home / "more/a.png", 30, 301)
    (home / "hosts").write_text("localhost:2\n")
    (home / "mine.yaml").write_text(network_text("resnet50"))
    before = Path.cwd()
    os.chdir(home)
    try:
        for line in (
            "train configs/small.yaml train.epochs=1",
            "train configs/seed.yaml --data photos data.image_size=64 train.epochs=1",
            "train photos.yaml train.epochs=1",
            "train photos.yaml data.test_split=0.2 train.epochs=1 --out runs/tested",
            "train photos.yaml --data tags.csv data.labels=multiple train.epochs=1 --out runs/tags",
            "train configs/efficientnet-lite0.yaml --data photos train.epochs=1 --out runs/lite0",
            "train configs/small.yaml train.epochs=1 --folds 2 --out runs/folds",
        ):
            assert run(plainly([*line.split(), "--quiet"])) == 0
        embed = "embed photos --ckpt runs/seed --output features.npz"
        assert run(embed.split()) == 0
    finally:
        os.chdir(before)
    for name, of in (("small-2", "small"), ("short", "small"), ("second", "photos")):
        shutil.copytree(home / f"runs/{of}", home / f"runs/{name}")
    shutil.copy(home / "runs/seed/best.npz", home / "model.npz")
    shutil.copy(home / "runs/lite0/best.npz", home / "lite0.npz")
    shutil.copy(home / "runs/small/best.npz", home / "soup.npz")
    shutil.copytree(home, home.with_name("template"))
    return home


@pytest.fixture
def cnn(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Inside:
    """A function that runs a command line in that folder, as if it were the first one."""
    shutil.rmtree(home)
    shutil.copytree(home.with_name("template"), home)
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(tmp_path))  # where `cnn completion` installs
    return call_inside(monkeypatch, capsys)


@pytest.mark.parametrize(
    "line", [line for line in lines() if not is_only_read(line) and not is_of_several(line)]
)
def test_it_runs(cnn: Inside, line: str) -> None:
    for words in calls(line):
        extra = "safetensors" if words[-1].endswith(".safetensors") else EXTRAS.get(words[0])
        if extra:
            pytest.importorskip(extra)
        if "--out" in words and "--resume" not in words:
            shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)
        stdin = b"photo.jpg\0" if "-0" in words else b"photo.jpg\n"
        outcome = cnn(*shortened(words), stdin=stdin)
        expected = {0} | {code for word, code in CODES.items() if word in words}
        # After one epoch, calibration may find no temperature.
        if {"tags.csv", "--calibrate"} <= set(words):
            expected.add(4)
        assert outcome.code in expected, outcome.err


@needs_mpi
@pytest.mark.parametrize("line", [line for line in lines() if is_of_several(line)])
def test_it_runs_in_several_processes(cnn: Inside, line: str) -> None:
    (words,) = calls(line)
    options = line.split()[1 : line.split().index("cnn")]
    command = together(1, *shortened(words))
    outcome = mpiexec([command[0], *options, *command[3:]])
    assert outcome.code == 0, outcome.err
    assert outcome.out


@pytest.mark.parametrize(
    "line", [line for line in lines() if is_only_read(line) or is_of_several(line)]
)
def test_it_is_read(line: str) -> None:
    for words in calls(line):
        assert read(words).startswith(f"cnn {words[0]}")


def test_the_list_of_what_is_only_read_is_up_to_date() -> None:
    assert [
        start for start in ONLY_READ if not any(map(str.startswith, lines(), [start] * 999))
    ] == []
    for name, test in ELSEWHERE.items():
        assert name in page_names()
        assert f"cnn_cli/docs/{name}.md" in (ROOT / test).read_text()


def commands() -> list[tuple[str, Any]]:
    """Return each command with its path."""
    command = program()
    with command.make_context("cnn", [], resilient_parsing=True) as context:
        return [(inner.command_path, each) for each, inner in below(context)]


@pytest.mark.parametrize(("path", "command"), commands())
def test_every_option_is_documented_and_every_help_has_an_example(
    cnn: Inside, path: str, command: Any
) -> None:
    text = page_text("commands").partition(f"\n## {path}\n")[2].partition("\n## ")[0]
    for parameter in command.params:
        assert parameter.help, parameter.name
        for name in [*parameter.opts, *parameter.secondary_opts]:
            if name.startswith("-"):
                assert re.search(rf"[`, ]{name}[`, ]", text), name
    outcome = cnn(*path.split()[1:], "--help")
    assert outcome.code == 0
    examples = re.split("Examples?:", outcome.out)[1]
    assert f"  {path}" in examples
    for line in examples.splitlines():
        if line.strip():
            assert f"    {line.strip()}\n" in text
