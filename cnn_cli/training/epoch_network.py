"""The network of an epoch: the size of its images, its frozen layers, and their cached outputs."""

from __future__ import annotations

from cnn_cli.data.shards import touched
from cnn_cli.nn.graph import IMAGE, Node
from cnn_cli.optim.groups import freeze_graph, make_groups
from cnn_cli.training.features import Features, ValidationFeatures, cached_node, compute_features
from cnn_cli.training.session import Hook, Session
from cnn_cli.training.training_data import deal_shards

MEMORY_FRACTION = 1 / 4  # share of the available memory for features


class EpochNetwork(Hook):
    """Trains the network for the epoch's image size, with the layers frozen that `train.freeze` and
    `train.head` name for the epoch; caches their outputs if possible, until images begin to change.

    After the epoch's steps, the engine has the full image size again.
    """

    def before_epoch(self, session: Session) -> None:
        setup, learner, epoch = session.setup, session.learner, session.state.epoch
        rules, loader = setup.rules(epoch), session.loader
        learner.optimizer.groups = make_groups(learner.params, rules, epoch)
        graph, of_size = session.engine.graph, setup.graph_of(epoch)
        if graph.in_shape != of_size.in_shape:
            graph = of_size
        graph = freeze_graph(graph, rules, epoch)
        session.data.train_loader.image_size = setup.config.image_size(epoch)
        # Features are useless if images change or statistics are averaged or estimated.
        cacheable = _same_images(session) and session.evaluated is learner.params
        kept = session.source is loader or (cacheable and isinstance(session.source, Features))
        if kept and graph is session.engine.graph:
            return
        node = IMAGE
        room = int(setup.memory.room() * MEMORY_FRACTION) // setup.memory.processes
        if cacheable:
            node = cached_node(graph, len(loader.split), learner.params.dtype.itemsize, room)
        session.source = loader
        if node != IMAGE:
            session.source = features = _compute(session, graph.nodes[node])
            room -= features.values.nbytes
        if graph is session.engine.graph and node == session.engine.entry:
            return
        session.replace_engine(graph, node)
        session.val_features = _val_features(session, room)

    def after_epoch(self, session: Session) -> None:
        setup, epoch = session.setup, session.state.epoch
        if session.engine.graph.in_shape != setup.graph.in_shape:
            session.data.train_loader.image_size = None
            session.replace_engine(freeze_graph(setup.graph, setup.rules(epoch), epoch))


def _same_images(session: Session) -> bool:
    """Whether the network sees the same training images in each of the next epochs."""
    setup = session.setup
    unchanged = session.mixer is None and setup.config.train.progressive_resizing is None
    head_alone = setup.trains_head_alone(session.state.epoch)
    return session.loader.augment is None and (head_alone or unchanged)


def _compute(session: Session, node: Node) -> Features:
    """Compute the outputs of a frozen layer for this rank's training images."""
    ranks, loader = session.setup.ranks, session.loader
    session.progress.note(
        f"frozen up to {node.name}: computed once for {len(loader.split):,} images"
    )
    with session.requests.at_once():
        shards = deal_shards(session.setup.config, loader.split)
        wanted = touched(shards, ranks.rank, ranks.size)
        return compute_features(session.engine, loader, node.index, wanted)


def _val_features(session: Session, room: int) -> ValidationFeatures | None:
    """Return what keeps the frozen layers' outputs for validation images; None if nothing does.

    Args:
        room: bytes available.
    """
    setup, loader = session.setup, session.data.val_loader
    is_full = session.engine.graph.in_shape == setup.graph.in_shape
    # Each view of an image would have features of its own.
    if loader is None or not is_full or session.data.views is not None:
        return None
    if session.evaluated is not session.learner.params:
        return None
    return ValidationFeatures.open(session.engine, loader, setup.ranks.size, room)
