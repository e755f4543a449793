"""`cnn summary`: show a network's layers with their output, parameters and cost."""

from __future__ import annotations

from cnn_cli.cli.shared import output
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.networks import Classes, Overrides, Source, open_network
from cnn_cli.cli.shared.options import Backend, Debug, Json


@command(
    "summary",
    order=70,
    examples=(
        "cnn summary configs/small.yaml",
        "cnn summary configs/small.yaml data.image_size=64 --json",
        "cnn summary runs/small/best.npz",
    ),
)
def run(
    source: Source,
    overrides: Overrides = None,
    classes: Classes = None,
    backend: Backend = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show a network's layers, parameters, operations and memory.

    Output shapes are height, width and channels of one image; multiply-adds are for its forward
    pass. The algorithms of convolutions and the memory depend on the backend. Of a checkpoint, it
    also shows the classes, the training, and what changes its predictions.
    """
    network = open_network(source, overrides or [], classes)
    from cnn_cli.data.depth import DTYPES
    from cnn_cli.nn.backends import choose_backend
    from cnn_cli.report.text.network_summary import summarize
    from cnn_cli.system import cpu_count

    train = network.config.train
    pixel_bytes = DTYPES[network.config.data.depth].itemsize
    summary = summarize(network.graph, train, cpu_count(), choose_backend(backend), pixel_bytes)
    document, text = summary.as_dict(), summary.as_text()
    if network.classifier is not None:
        from cnn_cli.report.text.checkpoint_facts import CheckpointFacts

        facts = CheckpointFacts.of(network.classifier)
        document["checkpoint"] = facts.as_dict()
        text = f"{facts.as_text()}\n{text}"
    if json:
        output.write_json(document)
    else:
        output.write(text)
