"""Options of several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cnn_cli.cli.shared import values
from cnn_cli.cli.shared.parameters import Argument, Option

ConfigFile = Annotated[
    str,
    Argument(
        metavar="CONFIG", parser=values.text, help="A config, a YAML file.", show_default=False
    ),
]
Data = Annotated[
    Path | None,
    Option(
        "--data",
        metavar="DIR",
        parser=values.path,
        help="The images; overrides data.root.",
    ),
]
IMAGES = (
    "Images with one folder per class, or train, val and test with such folders: a "
    "folder, an archive or a list."
)
Folder = Annotated[
    Path,
    Argument(metavar="DIR", parser=values.path, help=IMAGES, show_default=False),
]
Labels = Annotated[
    str | None,
    Option(
        "--labels",
        parser=values.OneWord(("single", "multiple")),
        help="Whether an image of a label list may have several labels, as cat|dog. Default: "
        "the list decides.",
    ),
]
Checkpoint = Annotated[
    Path,
    Option(
        "--ckpt",
        metavar="FILE",
        parser=values.path,
        help="A checkpoint (.npz), or a run folder: its best.npz, else its last.npz.",
        show_default=False,
    ),
]
NewCheckpoint = Annotated[
    Path | None,
    Option(
        "--output",
        "-o",
        parser=values.FileOf(".npz"),
        help="The checkpoint to write.",
        show_default=False,
    ),
]
Checkpoints = Annotated[
    list[Path],
    Option(
        "--ckpt",
        metavar="FILE",
        parser=values.path,
        help="A checkpoint (.npz), or a run folder: its best.npz, else its last.npz. If "
        "repeated, or for a run of folds, probabilities are averaged.",
        show_default=False,
    ),
]
TTA = ("none", "hflip", "multicrop", "tencrop")
TestTime = Annotated[
    str | None,
    Option(
        "--tta",
        parser=values.OneWord(TTA),
        help="Test-time augmentation: average the scores of the image and its mirror "
        "image; of both, also shifted; or of ten crops. Default: the checkpoint's augment.tta.",
    ),
]
BatchSize = Annotated[
    int,
    Option(
        "--batch-size",
        "-b",
        metavar="N",
        parser=values.whole(1),
        help="Images per batch.",
    ),
]
Threads = Annotated[
    int | None,
    Option(
        "--threads",
        metavar="N",
        parser=values.whole(1, below=4097),
        help="Number of threads. Default: the cores that this process may use.",
    ),
]
BACKENDS = ("numpy", "fast")


def backend_option(default: str) -> Any:
    """Return the option `--backend`, whose help describes the default."""
    return Option(
        "--backend",
        parser=values.OneWord(BACKENDS),
        help=f"Compute with NumPy, or with kernels compiled by numba. Default: {default}.",
    )


Backend = Annotated[str | None, backend_option("fast if numba is installed")]
EvaluationBackend = Annotated[
    str | None,
    backend_option("fast from a thousand images on if numba is installed, else numpy"),
]


def run_folder(*names: str) -> Option:
    """Return the option for the run folder, with these names."""
    return Option(
        *names,
        metavar="DIR",
        parser=values.path,
        help="The run folder. Default: runs/NAME of the config, then NAME-2, …",
    )


RunFolder = Annotated[Path | None, run_folder("--output", "-o", "--out")]
Out = Annotated[Path | None, run_folder("--out")]
"""The run folder for commands in which `--output` is another file."""
Overwrite = Annotated[bool, Option("--overwrite", help="Delete an existing run in the run folder.")]
Resume = Annotated[bool, Option("--resume", help="Continue from the run's last.npz, if it exists.")]
TimeLimit = Annotated[
    float | None,
    Option(
        "--time-limit",
        metavar="TIME",
        parser=values.duration,
        help="Save and stop with exit code 75 after this time: 90s, 25m, 1h30m.",
    ),
]
Memory = Annotated[
    int | None,
    Option(
        "--memory",
        metavar="SIZE",
        parser=values.size,
        help="Use at most this much memory, for example 2G; see train.recompute.",
    ),
]
Json = Annotated[bool, Option("--json", help="Print the result as one JSON object.")]
Debug = Annotated[bool, Option("--debug", help="Print a traceback if an error occurs.")]
