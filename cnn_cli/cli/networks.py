"""`cnn networks`: list the built-in networks, or print their configs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.options import Backend, Debug, Json, Threads
from cnn_cli.cli.shared.parameters import Argument, Option
from cnn_cli.errors import UsageError, suggest

if TYPE_CHECKING:
    from cnn_cli.nn.graph import Graph


def _names(incomplete: str) -> list[str]:
    from cnn_cli.config.networks import network_names

    return [name for name in network_names() if name.startswith(incomplete)]


@command(
    "networks",
    order=65,
    examples=(
        "cnn networks",
        "cnn networks resnet50 > mine.yaml",
        "cnn networks resnet18 --measure",
    ),
)
def run(
    name: Annotated[
        str | None,
        Argument(
            metavar="[NAME]",
            parser=values.text,
            help="Print this network as a config.",
            autocompletion=_names,
            show_default=False,
        ),
    ] = None,
    measure: Annotated[
        bool,
        Option(
            "--measure",
            help="Measure images per second of prediction on this machine, with random weights.",
        ),
    ] = False,
    threads: Threads = None,
    backend: Backend = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the built-in networks, or print one as a config.

    Use one in a config as model.network, with or without arguments: {name: resnet50, width: 0.5}.
    Parameters and multiply-adds are for 1000 classes. With --measure or --json, a name selects its
    row of the list.
    """
    from cnn_cli.config.networks import find_network, network_names, network_text

    for option, given in (("--threads", threads), ("--backend", backend)):
        if given is not None and not measure:
            raise UsageError(option, "goes with --measure", given)
    names = list(network_names())
    if name is not None:
        found = find_network(name)
        if found is None:
            raise UsageError(
                name, f"no such network; cnn networks lists them.{suggest(name, names)}"
            )
        if not (measure or json):
            output.write(network_text(found))
            return
        names = [found]
    from cnn_cli.report.text.network_list import named_size, networks_text

    speed = _speed(threads, backend) if measure else None
    rows = [named_size(each, speed) for each in names]
    if json:
        output.write_json({"networks": [row.as_dict() for row in rows]})
    else:
        output.write(networks_text(rows))


def _speed(threads: int | None, backend: str | None) -> Callable[[Graph], float]:
    """Return a function that measures a network's prediction speed with random weights."""
    from cnn_cli.bench.network_bench import predictions_a_second
    from cnn_cli.nn.backends import choose_backend, open_kernels
    from cnn_cli.nn.init import initialize
    from cnn_cli.nn.params import Parameters
    from cnn_cli.system import cpu_count

    chosen = choose_backend(backend)

    def measure(graph: Graph) -> float:
        params = Parameters(graph, "float32")
        initialize(params, 0, "kaiming")
        kernels = open_kernels(chosen, graph, "float32", output.note)
        return predictions_a_second(graph, params, kernels, threads=threads or cpu_count())

    return measure
