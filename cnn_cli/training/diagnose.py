"""Find the layer and the images that made a loss or gradient NaN or infinite.

The step is repeated with layers that check everything they return. This is slow, so it is done only
after a loss or gradient was not finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnn_cli.errors import DivergedError, listed
from cnn_cli.nn.context import RunContext, Workspace
from cnn_cli.nn.graph import Graph, Node
from cnn_cli.nn.layers.base import Layer
from cnn_cli.nn.layers.batch import BatchLayer
from cnn_cli.nn.mix import Mix
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.passes import as_tuple
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.nn.types import Array
from cnn_cli.parallel.batches import RankBatch
from cnn_cli.runs.state import TrainingState
from cnn_cli.structs import replace
from cnn_cli.training.divergence import advice_of, place_of
from cnn_cli.training.memory import fits_alone
from cnn_cli.training.session import Session
from cnn_cli.training.step import NotFiniteError, step_targets

FILES = 3  # named in a message

MakeEngine = Callable[[Graph, Parameters], TrainingEngine]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the first value that is not finite appeared.

    Attributes:
        layer, kind: name and kind of the layer.
        what: `output` or `gradient`.
        rows: positions in the batch of the affected images; empty if unknown.
    """

    layer: str
    kind: str
    what: str
    rows: tuple[int, ...]


def explain(session: Session, batch: RankBatch, failure: NotFiniteError) -> DivergedError:
    """Return the error for a step whose loss or gradient is not finite, the same on all ranks."""
    return session.setup.ranks.first(lambda: _explain(session, batch, failure))


def _explain(session: Session, batch: RankBatch, failure: NotFiniteError) -> DivergedError:
    setup, engine, state = session.setup, session.engine, session.state
    workspaces = engine.workspaces
    workspaces[:] = [Workspace() for _ in workspaces]  # frees memory for a second engine
    # The other ranks' images are read again, and so are images that were replaced by features.
    images, origin = batch.images, None
    sought = setup.ranks.size == 1 or fits_alone(
        setup.config,
        engine.graph,
        setup.threads,
        session.kernels.name,
        session.data.preprocess.dtype.itemsize,
    )
    if sought:
        loader = session.loader
        if len(images) < len(batch) or session.source is not loader:
            parts = loader.batches(batch.indices, epoch=state.epoch)
            images = np.concatenate([part.images for part in parts])
        origin = find_origin(
            session.open_engine,
            engine.graph,
            session.learner.params,
            images,
            step_targets(setup, batch.labels, failure.mix, slice(None)),
            failure.divisor,
            step=setup.step_number(state.epoch, batch.number),
            mix=failure.mix,
        )
    files = [setup.dataset.train.paths[i] for i in batch.indices]
    return step_error(state, batch.number + 1, failure.loss, origin, files, sought=sought)


def step_error(
    state: TrainingState,
    step: int,
    loss: float,
    origin: Origin | None,
    files: Sequence[str],
    *,
    sought: bool = True,
) -> DivergedError:
    """Return the error for a step whose loss or gradient is not finite.

    Args:
        step: number of the step in the epoch, from 1.
        loss: the loss of the step.
        origin: the result of `find_origin`.
        files: the batch's files, in its order.
        sought: whether `find_origin` was called.
    """
    if math.isfinite(loss):
        what, got = "gradient", "inf or nan"
    else:
        what, got = "loss", str(loss)
        if not sought:
            origin = None
        elif origin is None or origin.what == "gradient":
            origin, got = None, f"{loss} from scores that are finite"
    if origin is not None:
        got += f", first in the {origin.what} of {origin.layer} ({origin.kind})"
        files = [files[row] for row in origin.rows] or files
    rule = f"the {what} must be finite; {advice_of(state)}"
    return DivergedError(
        place_of(state, step), rule, f"{got}, for {listed(files, FILES, last=' and ')}"
    )


def find_origin(
    make_engine: MakeEngine,
    graph: Graph,
    params: Parameters,
    x: Array,
    targets: Array,
    divisor: float,
    *,
    step: int,
    mix: Mix | None = None,
) -> Origin | None:
    """Repeat a step and find the first layer that returns values that are not finite.

    Args:
        make_engine: builds an engine like the one that ran the step.
        graph: the network for the images' size.
        params: the parameters as they were in the step; not modified.
        x, targets, divisor, step, mix: as in `TrainingEngine.train_step`.

    Returns:
        The first layer in forward order whose output is not finite; if there is none, the first one
        in backward order whose parameter or input gradient is not. None if only the loss is not
        finite.
    """
    outputs: _Seen = []
    gradients: _Seen = []
    nodes = graph.nodes
    watched = tuple(
        replace(node, layer=_watched(node.layer, node.index, outputs, gradients)) for node in nodes
    )
    engine = make_engine(replace(graph, nodes=watched), params.copy())
    with engine, np.errstate(all="ignore"):
        engine.train_step(x, targets, divisor, step=step, mix=mix)
        for node, views in zip(nodes, engine.gradient_views, strict=True):
            if not all(np.isfinite(view).all() for view in views.values()):
                gradients.append((node.index, ()))
    if outputs:
        return _origin(nodes, min(index for index, _ in outputs), "output", outputs)
    if gradients:
        return _origin(nodes, max(index for index, _ in gradients), "gradient", gradients)
    return None


_Seen = list[tuple[int, tuple[int, ...]]]


def _origin(nodes: Sequence[Node], index: int, what: str, seen: _Seen) -> Origin:
    rows = {row for where, some in seen if where == index for row in some}
    node = nodes[index]
    return Origin(node.name, node.layer.kind, what, tuple(sorted(rows)))


def _watched(layer: Layer, index: int, outputs: _Seen, gradients: _Seen) -> Layer:
    """Return a copy of `layer` whose class checks every result; it calls the original class."""
    kind: Any = type(layer)

    def forward(name: str) -> Callable[..., Any]:
        method = getattr(kind, name)

        def call(self: Layer, *args: Any) -> Any:
            y, saved = method(self, *args)
            _look(y, args[-1], outputs)
            return y, saved

        return call

    def backward(name: str) -> Callable[..., Any]:
        method = getattr(kind, name)

        def call(self: Layer, *args: Any) -> Any:
            dx = method(self, *args)
            for each in as_tuple(dx):
                _look(each, args[-1], gradients)
            return dx

        return call

    def _look(array: Array, run: RunContext, seen: _Seen) -> None:
        good = np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        if not good.all():  # `list.append` is atomic, so workers can share the list
            seen.append((index, tuple(int(row) + run.offset for row in np.flatnonzero(~good))))

    methods = {"forward": forward("forward"), "backward": backward("backward")}
    if isinstance(layer, BatchLayer):
        methods["forward_batch"] = forward("forward_batch")
        methods["backward_batch"] = backward("backward_batch")
    watched_kind: type[Layer] = type(kind.__name__, (kind,), methods)
    other = watched_kind.__new__(watched_kind)
    vars(other).update(vars(layer))
    return other
