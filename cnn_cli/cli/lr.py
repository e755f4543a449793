"""`cnn lr`: find a learning rate by a range test."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.bars import counting
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.networks import Overrides
from cnn_cli.cli.shared.options import Backend, ConfigFile, Data, Debug, Json, Memory, Threads
from cnn_cli.cli.shared.parameters import Exit, Option
from cnn_cli.errors import ExitCode, missing_extra


@command(
    "lr",
    order=67,
    examples=(
        "cnn lr configs/small.yaml",
        "cnn lr configs/small.yaml train.optimizer=adamw --plot lr.png",
        "cnn lr configs/seed.yaml --data photos data.image_size=64 --steps 50 --json",
    ),
)
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    data: Data = None,
    steps: Annotated[
        int,
        Option(
            "--steps",
            metavar="N",
            parser=values.whole(20, below=100_001),
            help="Updates on the way from the lowest rate to the highest.",
        ),
    ] = 100,
    plot: Annotated[
        Path | None,
        Option(
            "--plot",
            parser=values.FileOf(".png"),
            help="Draw the loss against the learning rate.",
        ),
    ] = None,
    time_limit: Annotated[
        float,
        Option(
            "--time-limit",
            metavar="TIME",
            parser=values.duration,
            help="Stop without a suggestion, with exit code 75, after this time: 90s, 25m, 1h30m.",
        ),
    ] = "10m",  # type: ignore[assignment]  # read by the parser, and shown in the help
    memory: Memory = None,
    threads: Threads = None,
    backend: Backend = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Find a learning rate by a range test (Smith 2017).

    Suggests the rate at which the smoothed loss falls fastest. The test ignores the config's
    schedule, its warm-up and train.head, and saves nothing.
    """
    if plot is not None:
        output.check_output(plot)
        if find_spec("matplotlib") is None:
            raise missing_extra("--plot", "matplotlib", "report")
    from cnn_cli.config import load_config
    from cnn_cli.report.text.lr_range_text import lr_range_text
    from cnn_cli.training.lr_range import range_test
    from cnn_cli.training.options import TrainOptions

    root = None if data is None else str(data)
    loaded = load_config(config, overrides or [], {"data.root": root})
    options = TrainOptions(threads=threads, backend=backend, memory=memory)
    with counting("range test", "steps", steps) as shown:
        found = range_test(
            loaded, config, options, steps, time_limit, shown.note, lambda _: shown.add()
        )
    if plot is not None:
        from cnn_cli.files import write_atomic
        from cnn_cli.report.pictures.lr_range_plot import lr_range_png

        write_atomic(plot, lr_range_png(found))
    if json:
        output.write_json(found.as_dict())
    else:
        given = [] if data is None else [f"data.root={data}"]
        output.write(lr_range_text(found, config, [*(overrides or []), *given]))
    if found.ended == "time limit":
        raise Exit(ExitCode.STOPPED)
