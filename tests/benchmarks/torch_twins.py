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
    return TorchSide(network, twin, layout)


class TorchSide:
    """A network in PyTorch, with its optimizer and a batch."""

    def __init__(self, network: Network, twin: Twin, layout: str) -> None:
        self.twin = twin.to(memory_format=LAYOUTS[layout])
        x, labels = network.make_batch()
        self.x = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=LAYOUTS[layout])
        self.labels = torch.from_numpy(labels)
        self.optimizer = torch.optim.SGD(self.twin.parameters(), **SGD)

    def weights(self) -> dict[str, Any]:
        """Parameters and running statistics as `layer/name`."""
        return self.twin.state()

    def step(self) -> float:
        self.twin.train()
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.twin(self.x), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss.item()

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
