"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cnn_cli.cli.shared import values
from cnn_cli.cli.shared.parameters import Argument, Option

ConfigFile = Annotated[
    str,
    Argument(metavar="CONFIG", parser=values.text, help="A YAML file.", show_default=False),
]
Data = Annotated[
    Path | None,
    Option("--data", metavar="DIR", parser=values.path("--data"), help="Images: data.root."),
]
IMAGES = "Images by class, or parts train, val, test of them: a folder, an archive or a list."
Folder = Annotated[
    Path,
    Argument(metavar="DIR", parser=values.path("DIR"), help=IMAGES, show_default=False),
]
Checkpoint = Annotated[
    Path,
    Option(
        "--ckpt",
        metavar="FILE",
        parser=values.path("--ckpt"),
        help="A checkpoint (.npz), or a run folder: its best.npz, else its last.npz.",
        show_default=False,
    ),
]
Checkpoints = Annotated[
    list[Path],
    Option(
        "--ckpt",
        metavar="FILE",
        parser=values.path("--ckpt"),
        help="A checkpoint (.npz), or a run folder: its best.npz, else its last.npz. Given several "
        "times, or of a run of folds, probabilities are averaged.",
        show_default=False,
    ),
]
BatchSize = Annotated[
    int,
    Option(
        "--batch-size",
        "-b",
        metavar="N",
        parser=values.whole("--batch-size", 1),
        help="Images that go through the network together.",
    ),
]
Threads = Annotated[
    int | None,
    Option(
        "--threads",
        metavar="N",
        parser=values.whole("--threads", 1, below=4097),
        help="Default: the cores this process may use.",
    ),
]
BACKENDS = ("numpy", "fast")


def backend_option(default: str) -> Any:
    """`--backend`, whose help says what the default is."""
    return Option(
        "--backend",
        metavar="|".join(BACKENDS),
        parser=values.choice("--backend", BACKENDS),
        help=f"What computes: NumPy, or loops compiled by numba. Default: {default}.",
    )


Backend = Annotated[str | None, backend_option("fast where numba is installed")]
EvaluationBackend = Annotated[
    str | None,
    backend_option("fast from a thousand images on where numba is installed, else numpy"),
]


Out = Annotated[
    Path | None,
    Option(
        "--out",
        metavar="DIR",
        parser=values.path("--out"),
        help="The run folder. Default: runs/NAME of the config, then NAME-2, …",
    ),
]
Overwrite = Annotated[bool, Option("--overwrite", help="Delete the run that is in the run folder.")]
Resume = Annotated[bool, Option("--resume", help="Go on from the run's last.npz, if it is there.")]
TimeLimit = Annotated[
    float | None,
    Option(
        "--time-limit",
        metavar="TIME",
        parser=values.duration("--time-limit"),
        help="Save and stop, with 75, after 90s, 25m, 1h30m.",
    ),
]
Json = Annotated[bool, Option("--json", help="Print the result as one JSON object.")]
Debug = Annotated[bool, Option("--debug", help="Show where in the program an error arose.")]
