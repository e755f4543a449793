"""The same networks in PyTorch: eager or compiled, in two layouts and two data types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from benchmark_networks import Network
from harness import SGD, WAYS, Way
from torch import nn
from torch_twin import Twin

LAYOUTS = {"default": torch.contiguous_format, "channels_last": torch.channels_last}


def make_twins(network: Network, threads: int, rivals: Iterable[str]) -> dict[str, TorchSide]:
    """Return a twin for each name of `WAYS`, all with the same initial weights."""
    torch.compiler.reset()
    twins: dict[str, TorchSide] = {}
    for rival in rivals:
        state = next(iter(twins.values())).twin.state_dict() if twins else None
        twins[rival] = make_twin(network, WAYS[rival], threads, state)
    return twins


def make_twin(
    network: Network, way: Way, threads: int, state: dict[str, Any] | None = None
) -> TorchSide:
    """Return a twin with the given parameters, by default drawn with seed 0."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    height, width, channels = network.in_shape
    twin = Twin(network.layers, channels, (height, width), network.classes)
    if state is not None:
        twin.load_state_dict(state)
    side = TorchSide(network, twin, way)
    if network.frozen and state is None:
        side.measure_statistics()
    return side


def why_not_compiled() -> str | None:
    """Return why torch.compile fails here, such as a missing C++ compiler; None if it works."""
    try:
        torch.compile(torch.relu)(torch.ones(64))
    except Exception as error:
        return str(error).strip().splitlines()[0]
    return None


class TorchSide:
    """A network in PyTorch with an optimizer and a batch; see `harness.Side`."""

    def __init__(self, network: Network, twin: Twin, way: Way) -> None:
        self.twin = twin.to(memory_format=LAYOUTS[way.layout])
        x, labels = network.make_batch()
        x = torch.from_numpy(x).permute(0, 3, 1, 2)
        self.x: Any = x.contiguous(memory_format=LAYOUTS[way.layout])
        self.labels = torch.from_numpy(labels)
        first = _layers_with(list(self.twin.body), network.frozen)
        frozen, trained = self.twin.body[:first], self.twin.body[first:]
        self.optimizer = torch.optim.SGD(trained.parameters(), **SGD)
        frozen.eval()
        trained.train(not network.predicts)
        ways = torch.compile if way.compiled else lambda module: module
        self._frozen, self._trained = ways(frozen) if first else None, ways(trained)
        self._bfloat16 = way.bfloat16

    def weights(self) -> dict[str, Any]:
        """Return parameters and running statistics as `layer/name`."""
        return self.twin.state()

    def step(self) -> float:
        self.optimizer.zero_grad()
        with self._autocast():
            x = self.x
            if self._frozen is not None:
                with torch.no_grad():
                    x = self._frozen(x)
            loss = nn.functional.cross_entropy(self._trained(x), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def measure_statistics(self) -> None:
        """Set frozen batch normalization to the batch's statistics, so that outputs are not
        tiny.
        """
        norms = [each for each in self.twin.modules() if isinstance(each, nn.BatchNorm2d)]
        before = [(each, each.momentum, each.training) for each in norms]
        for each in norms:
            each.momentum = 1.0
            each.train()
        with torch.no_grad():
            self.twin(self.x)
        for each, momentum, training in before:
            each.momentum = momentum
            each.train(training)

    def predict(self) -> Any:
        with torch.inference_mode(), self._autocast():
            return self._trained(self.x).float().numpy()

    def _autocast(self) -> Any:
        return torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16)


def plain_layers(part: Any) -> Any:
    """Remove arguments that PyTorch lacks: initialization, stochastic depth."""
    if isinstance(part, dict):
        ours = ("init", "name", "drop_path")
        return {key: plain_layers(value) for key, value in part.items() if key not in ours}
    return [plain_layers(entry) for entry in part] if isinstance(part, list) else part


def _layers_with(modules: list[nn.Module], count: int) -> int:
    """Return how many of the first modules contain that many layers with parameters."""
    held = 0
    for number, module in enumerate(modules):
        if held == count:
            return number
        leaves = [each for each in module.modules() if not list(each.children())]
        held += sum(1 for each in leaves if list(each.parameters()))
    raise ValueError(f"no first layers hold just {count} with parameters")
