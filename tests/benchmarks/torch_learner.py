"""The PyTorch side of learning.py: a run's network and recipe."""

from __future__ import annotations

from typing import Any

import harness
import numpy as np
import torch
from torch import nn
from torch_twin import Twin
from torch_twins import plain_layers

from cnn_cli.config import Config, plain_config
from cnn_cli.data.loader import Batch, Loader
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.params import Parameters
from cnn_cli.optim.optimizers.sgd import SGDConfig
from cnn_cli.optim.schedule import learning_rate
from cnn_cli.training.setup import open_network
from cnn_cli.training.training_data import (
    augment_training,
    epoch_order,
    measure_normalization,
    open_training_data,
)


class Learner:
    """The twin with the run's images and recipe.

    It supports what PyTorch has under the same name: SGD, label smoothing, any schedule but
    plateau.
    """

    def __init__(self, config: Config, source: str, threads: int) -> None:
        torch.set_num_threads(threads)
        train = config.train
        if not isinstance(train.optimizer, SGDConfig) or train.ema or train.lookahead:
            harness.fail("compares runs with sgd and without averaged weights")
        self.config = config
        dataset, graph = open_network(config, source)
        self.materials = open_training_data(config, dataset, threads, print)
        normalization = measure_normalization(config, self.materials, threads)
        augment_training(config, self.materials, normalization)
        self.mean = np.float32(255) * np.array(normalization.mean, np.float32)
        self.std = np.float32(255) * np.array(normalization.std, np.float32)
        layers = plain_layers(plain_config(config)["model"]["layers"])
        height, width = config.data.image_size
        size = (height, width)
        self.twin = Twin(layers, config.data.channels, size, len(dataset.classes))
        _load(self.twin, graph, config)
        sgd = train.optimizer
        self.optimizer = torch.optim.SGD(
            self.twin.parameters(),
            lr=sgd.lr,
            momentum=sgd.momentum,
            nesterov=sgd.nesterov,
            weight_decay=sgd.weight_decay,
        )
        self.loss = nn.CrossEntropyLoss(label_smoothing=train.label_smoothing)

    def epoch(self, epoch: int) -> dict[str, float]:
        """Train an epoch, counted from 0, and evaluate."""
        train = self.config.train
        loader = self.materials.train_loader
        order = epoch_order(self.config, epoch, loader.split)
        steps = -(-len(order) // train.batch_size)
        self.twin.train()
        sums = np.zeros(3)
        for batch in loader.batches(order, epoch=epoch):
            step = epoch * steps + batch.number
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(
                    train.scheduler, train.optimizer.lr, step, steps, train.epochs
                )
            self.optimizer.zero_grad()
            loss, correct = self._scores(batch, self.loss)
            loss.backward()
            self.optimizer.step()
            sums += (loss.item() * len(batch), correct, len(batch))
        figures = {"train_loss": sums[0] / sums[2], "train_top1": sums[1] / sums[2]}
        return figures | self._evaluate(self.materials.val_loader)

    def _evaluate(self, loader: Loader | None) -> dict[str, float]:
        if loader is None:
            return {"val_loss": float("nan"), "val_top1": float("nan")}
        self.twin.eval()
        sums = np.zeros(3)
        with torch.inference_mode():
            for batch in loader.batches(np.arange(len(loader.split))):
                loss, correct = self._scores(batch, nn.CrossEntropyLoss())
                sums += (loss.item() * len(batch), correct, len(batch))
        return {"val_loss": sums[0] / sums[2], "val_top1": sums[1] / sums[2]}

    def _scores(self, batch: Batch, loss: Any) -> tuple[Any, int]:
        x = (batch.images.astype(np.float32) - self.mean) / self.std
        labels = torch.from_numpy(batch.labels.astype(np.int64))
        logits = self.twin(torch.from_numpy(x).permute(0, 3, 1, 2).contiguous())
        return loss(logits, labels), int((logits.argmax(1) == labels).sum())


def _load(twin: Any, graph: Graph, config: Config) -> None:
    """Load the run's initial weights into the twin."""
    params = Parameters(graph, "float32")
    initialize(params, config.train.seed, config.model.init)
    with torch.no_grad():
        for name, array in params.named().items():
            layer, _, key = name.rpartition("/")
            getattr(twin.by_name[layer], key).copy_(torch.from_numpy(array.copy()))
