"""The network of an epoch: the size of its images, its frozen layers, and their cached outputs."""

from __future__ import annotations

from cnn_cli.data.shards import touched
from cnn_cli.nn.graph import IMAGE
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
        unchanged = session.mixer is None and setup.config.train.progressive_resizing is None
        same_images = loader.augment is None and (setup.trains_head_alone(epoch) or unchanged)
        cacheable = same_images and session.evaluated is learner.params
        kept = session.source is loader or (cacheable and isinstance(session.source, Features))
        if kept and graph is session.engine.graph:
            return
        node = IMAGE
        room = int(setup.memory.room() * MEMORY_FRACTION) // setup.memory.processes
        if cacheable:
            node = cached_node(graph, len(loader.split), learner.params.dtype.itemsize, room)
        session.source = loader
        if node != IMAGE:
            layer, images = graph.nodes[node].name, len(loader.split)
            session.progress.note(f"frozen up to {layer}: computed once for {images:,} images")
            with session.requests.at_once():
                ranks = session.setup.ranks
                shards = deal_shards(session.setup.config, loader.split)
                wanted = touched(shards, ranks.rank, ranks.size)
                session.source = features = compute_features(session.engine, loader, node, wanted)
                room -= features.values.nbytes
        if graph is session.engine.graph and node == session.engine.entry:
            return
        session.replace_engine(graph, node)
        full = graph.in_shape == setup.graph.in_shape
        # Each view of an image would have features of its own.
        val_loader = session.data.val_loader if full and session.data.views is None else None
        if val_loader is not None and session.evaluated is learner.params:
            session.val_features = ValidationFeatures.open(
                session.engine, val_loader, setup.ranks.size, room
            )

    def after_epoch(self, session: Session) -> None:
        setup, epoch = session.setup, session.state.epoch
        if session.engine.graph.in_shape != setup.graph.in_shape:
            session.data.train_loader.image_size = None
            session.replace_engine(freeze_graph(setup.graph, setup.rules(epoch), epoch))
