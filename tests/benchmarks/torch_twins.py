"""The other side: the same network in PyTorch, in one of its two layouts of memory."""

from __future__ import annotations

from typing import Any

import torch
from benchmark_networks import Network
from harness import SGD
from torch import nn
from torch_twin import Twin

LAYOUTS = {"default": torch.contiguous_format, "channels_last": torch.channels_last}


def make_twins(network: Network, threads: int) -> dict[str, TorchSide]:
    """A twin for each layout, with the same first weights."""
    twins = {layout: make_twin(network, layout, threads) for layout in LAYOUTS}
    state = twins["default"].twin.state_dict()
    twins["channels_last"].twin.load_state_dict(state)
    return twins


def make_twin(network: Network, layout: str, threads: int) -> TorchSide:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    height, width, channels = network.in_shape
    twin = Twin(network.layers, channels, (height, width), network.classes)
    side = TorchSide(network, twin, layout)
    if network.frozen:
        side.measure_statistics()
    return side


class TorchSide:
    """A network in PyTorch, with its optimizer and a batch.

    Attributes:
        frozen, trained: its first layers, of which `network.frozen` have parameters, and the rest.
    """

    def __init__(self, network: Network, twin: Twin, layout: str) -> None:
        self.twin = twin.to(memory_format=LAYOUTS[layout])
        x, labels = network.make_batch()
        self.x = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=LAYOUTS[layout])
        self.labels = torch.from_numpy(labels)
        first = _layers_with(list(self.twin.body), network.frozen)
        self.frozen, self.trained = self.twin.body[:first], self.twin.body[first:]
        self.optimizer = torch.optim.SGD(self.trained.parameters(), **SGD)

    def weights(self) -> dict[str, Any]:
        """Parameters and running statistics as `layer/name`."""
        return self.twin.state()

    def step(self) -> float:
        self.trained.train()
        self.frozen.eval()
        self.optimizer.zero_grad()
        with torch.no_grad():
            x = self.frozen(self.x)
        loss = nn.functional.cross_entropy(self.trained(x), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def measure_statistics(self) -> None:
        """Let frozen batch normalization know the batch, so that its output is not tiny."""
        norms = [each for each in self.twin.modules() if isinstance(each, nn.BatchNorm2d)]
        momenta = [each.momentum for each in norms]
        for each in norms:
            each.momentum = 1.0
        self.twin.train()
        with torch.no_grad():
            self.twin(self.x)
        for each, momentum in zip(norms, momenta, strict=True):
            each.momentum = momentum

    def predict(self) -> Any:
        self.twin.eval()
        with torch.inference_mode():
            return self.twin(self.x).numpy()


def plain_layers(part: Any) -> Any:
    """Layers without what PyTorch's have no argument for: our first weights, stochastic depth."""
    if isinstance(part, dict):
        ours = ("init", "name", "drop_path")
        return {key: plain_layers(value) for key, value in part.items() if key not in ours}
    return [plain_layers(entry) for entry in part] if isinstance(part, list) else part


def _layers_with(modules: list[nn.Module], count: int) -> int:
    """How many of the first modules hold that many layers with parameters."""
    held = 0
    for number, module in enumerate(modules):
        if held == count:
            return number
        leaves = [each for each in module.modules() if not list(each.children())]
        held += sum(1 for each in leaves if list(each.parameters()))
    raise ValueError(f"no first layers hold just {count} with parameters")
