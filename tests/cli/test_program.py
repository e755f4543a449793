"""The program as a whole: help, start, streams, and exit codes when something breaks."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_program import COMMAND, Inside, process
from patience import PATIENCE

from cnn_cli import __version__

NOT_FOR_PREDICTION = tuple(
    f"{name}."
    for name in (
        *("pydantic", "yaml", "tqdm", "rich", "matplotlib", "numba", "typer"),
        *(f"cnn_cli.{folder}" for folder in ("bench", "config", "interop", "optim", "proposal")),
        *(f"cnn_cli.{folder}" for folder in ("report", "training", "data.augment")),
        *(f"cnn_cli.inference.{name}" for name in ("acting", "appending", "sorting", "index")),
        *("cnn_cli.data.views", "cnn_cli.inference.scorer", "cnn_cli.inference.ensemble"),
        *("hashlib", "difflib", "csv", "dataclasses", "threadpoolctl", "cnn_cli.data.watch"),
        *("cnn_cli.runs.folder", "cnn_cli.runs.state", "cnn_cli.schema.fields"),
        *("cnn_cli.nn.attribution", "cnn_cli.nn.gradients", "cnn_cli.nn.float64_sums"),
        *("cnn_cli.nn.training_engine", "cnn_cli.nn.training_pass", "cnn_cli.nn.mix"),
        # Layers that the network does not use.
        *("cnn_cli.nn.layers.groupnorm", "cnn_cli.nn.layers.prelu", "cnn_cli.nn.layers.excite"),
    )
)
HEAVY = ("numpy", "pydantic", "PIL", "yaml", "tqdm", "rich", "matplotlib", "threadpoolctl")


def test_version() -> None:
    outcome = process("--version")
    assert (outcome.code, outcome.out, outcome.err) == (0, f"cnn {__version__}\n", "")


@pytest.mark.parametrize(
    "name", ["init", "lr", "train", "sweep", "eval", "report", "predict", "summary", "bench"]
)
def test_help_of_each_command_has_an_example(cnn: Inside, name: str) -> None:
    outcome = cnn(name, "--help")
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.out.startswith(f"Usage: cnn {name} ")
    assert f"  cnn {name} " in outcome.out.partition("Examples:")[2]
    assert "--debug" in outcome.out


@pytest.mark.parametrize("line", ["--help", "data --help", "config --help"])
def test_a_list_of_commands_cuts_no_sentence(cnn: Inside, line: str) -> None:
    out = cnn(*line.split()).out
    assert "..." not in out.replace("[ARGS]...", "")
    assert "--no-" not in out


def test_help_names_the_commands_there_are(cnn: Inside) -> None:
    outcome = cnn("--help")
    assert outcome.code == 0
    most = ("init", "lr", "train", "sweep", "eval", "report", "predict", "summary", "bench")
    for name in (*most, "data"):
        assert f"\n  {name}  " in outcome.out


@pytest.mark.parametrize(
    "arguments", [["--help"], ["predict", "--help"], ["data", "--help"], ["train", "--epoch"]]
)
def test_nothing_heavy_is_imported_before_it_is_needed(arguments: list[str]) -> None:
    program = (
        "import sys; from cnn_cli.cli.main import run; run(sys.argv[1:]);"
        f"print('imported:', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("imported: []\n")


def test_predict_imports_no_more_than_it_needs(trained: Path, picture: Path) -> None:
    # Pillow imports `logging`, which imports `dataclasses` since Python 3.14: to print in colors.
    program = (
        "import sys; import logging; before = set(sys.modules);"
        "from cnn_cli.cli.main import run; from cnn_cli.threads import tell_blas;"
        "tell_blas(); run(sys.argv[1:]);"
        "own = [name for name in sys.modules if name not in before];"
        f"print([name for name in own if f'{{name}}.'.startswith({NOT_FOR_PREDICTION})]);"
        "print(sorted(name for name in own if name.startswith('cnn_cli.cli.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "predict", picture, "--ckpt", trained],
        capture_output=True,
        text=True,
        check=True,
    )
    *_, others, own = done.stdout.splitlines()
    assert others == "[]"
    shared = (
        "",
        ".commands",
        ".options",
        ".output",
        ".parameters",
        ".signals",
        ".streams",
        ".together",
        ".values",
    )
    names = ("main", "predict", *(f"shared{name}" for name in shared))
    assert ast.literal_eval(own) == [f"cnn_cli.cli.{name}" for name in names]


@pytest.mark.parametrize(
    ("line", "enabled"),
    [
        ("predict {picture} --ckpt {trained}", False),
        ("predict {folder} --ckpt {trained}", True),
        ("predict {picture} {picture} --ckpt {trained}", True),
        ("predict --help", True),
        ("networks", True),
    ],
)
def test_garbage_is_looked_for_where_there_may_be_some(
    trained: Path, picture: Path, line: str, enabled: bool
) -> None:
    program = (
        "import gc, sys; from cnn_cli.cli.main import run; gc.disable();"
        "assert run(sys.argv[1:]) == 0; print(gc.isenabled())"
    )
    paths = {"picture": picture, "folder": picture.parent, "trained": trained}
    done = subprocess.run(
        [sys.executable, "-c", program, *(word.format(**paths) for word in line.split())],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == str(enabled)


def test_the_reader_may_leave(trained: Path, project: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as stdout:
        outcome = process(
            "predict",
            project / "photos",
            "--ckpt",
            trained,
            capture_output=False,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
    assert (outcome.code, outcome.err) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
@pytest.mark.parametrize("line", ["--help", "--version", "predict {} --ckpt {}"])
def test_a_full_disk_behind_stdout(trained: Path, picture: Path, line: str) -> None:
    arguments = line.format(picture, trained).split()
    with open("/dev/full", "wb") as stdout:
        outcome = process(*arguments, capture_output=False, stdout=stdout, stderr=subprocess.PIPE)
    message = "cnn: stdout: cannot be written. Got no space left on device.\n"
    assert (outcome.code, outcome.err) == (4, message)


def test_closed_streams(trained: Path, picture: Path) -> None:
    command = [*COMMAND, "predict", str(picture), "--ckpt", str(trained)]
    script = 'exec "$@" <&- >&- 2>&-'
    done = subprocess.run(["sh", "-c", script, "sh", *command], check=False, timeout=PATIENCE)
    assert done.returncode == 4
    script = 'exec "$@" <&- 2>&-'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *command], check=False, timeout=PATIENCE, stdout=subprocess.PIPE
    )
    assert done.returncode == 0
    assert done.stdout.startswith(os.fsencode(picture))


def break_version(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(text: str) -> None:
        raise error

    monkeypatch.setattr("cnn_cli.cli.shared.output.write", fail)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            ZeroDivisionError("by\nnought"),
            1,
            "internal error: ZeroDivisionError: by\\nnought (--debug shows where)",
        ),
        (
            MemoryError("no room for 3 GiB"),
            3,
            "memory: there must be enough; smaller images, batches or layers take less. "
            "Got no room for 3 GiB.",
        ),
        (
            OSError(28, "No space left on device", "x.bin"),
            4,
            "x.bin: cannot be used. Got no space left on device.",
        ),
    ],
)
def test_unexpected_errors(
    cnn: Inside, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, message: str
) -> None:
    break_version(monkeypatch, error)
    outcome = cnn("--version")
    assert (outcome.code, outcome.err) == (code, f"cnn: {message}\n")


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (BrokenPipeError(32, "Broken pipe"), 141)]
)
def test_silent_ends(
    cnn: Inside, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    break_version(monkeypatch, error)
    outcome = cnn("--version")
    assert (outcome.code, outcome.err) == (code, "")


@pytest.mark.parametrize("line", ["--debug eval --ckpt nope", "eval --ckpt nope --debug"])
def test_debug_shows_where(cnn: Inside, line: str) -> None:
    outcome = cnn(*line.split())
    assert outcome.code == 4
    assert outcome.err.startswith("Traceback (most recent call last):\n")
    assert outcome.err.endswith("\ncnn: nope: cannot be read. Got no such file or directory.\n")


def test_debug_after_two_dashes_is_a_name(cnn: Inside, trained: Path) -> None:
    outcome = cnn("predict", "--ckpt", trained, "--", "--debug")
    assert outcome.code == 4
    assert outcome.err == "cnn: --debug: cannot be read. Got no such file or directory.\n"


@pytest.mark.skipif(os.name == "nt", reason="a folder in use stays there")
@pytest.mark.parametrize(
    ("line", "code"),
    [
        (("train", "{config}"), 4),
        (("train", "tiny.yaml"), 4),
        (("init", "photos"), 4),
        (("predict", "photo.png", "--ckpt", "run"), 4),
    ],
)
def test_a_working_folder_that_was_deleted(
    project: Path, tmp_path: Path, line: tuple[str, ...], code: int
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'rmdir "$PWD" && exec "$@"'
    arguments = [each.replace("{config}", str(project / "tiny.yaml")) for each in line]
    done = subprocess.run(
        ["sh", "-c", script, "sh", *COMMAND, *arguments],
        cwd=gone,
        capture_output=True,
        text=True,
        check=False,
    )
    said = "cnn: working folder: must exist; it was deleted, or is no longer mounted.\n"
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)
