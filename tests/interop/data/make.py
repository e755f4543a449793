"""Write the `.pth` files beside it: `python tests/interop/data/make.py`, with PyTorch installed.

`weights.npz` contains the same numbers. The test suite reads them and needs no PyTorch.
"""

from __future__ import annotations

from argparse import Namespace
from collections import OrderedDict, defaultdict
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent


def main() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 4, 3, bias=False),
            bn1=nn.BatchNorm2d(4),
            fc=nn.Linear(4, 2),
        )
    )
    nn.init.uniform_(network.bn1.running_mean)
    state = network.state_dict()
    np.savez(HERE / "weights.npz", **{key: value.numpy() for key, value in state.items()})
    torch.save(state, HERE / "zip.pth")
    torch.save(state, HERE / "legacy.pth", _use_new_zipfile_serialization=False)
    half = OrderedDict(
        (key, value.to(torch.bfloat16 if "conv" in key else torch.float16))
        if value.is_floating_point()
        else (key, value)
        for key, value in state.items()
    )
    # Views of one storage, a transposed one, and unusual parameters.
    both = torch.stack([state["bn1.weight"], state["bn1.bias"]], dim=1)
    half["bn1.weight"], half["bn1.bias"] = both.unbind(1)
    half["fc.weight"] = nn.Parameter(state["fc.weight"].T.contiguous().T)
    torch.save({"epoch": 3, "state_dict": half, "best": 0.5}, HERE / "checkpoint.pth")
    torch.save(network, HERE / "whole.pth")
    kept = {
        "model": {f"module.{key}": value for key, value in state.items()},
        "model_ema": {"module": {key: 2 * value for key, value in state.items()}},
        "args": Namespace(lr=0.1, path=PurePosixPath("a"), device=torch.device("cpu")),
        "best": np.float64(0.5),
        "curve": np.arange(3),
        "history": defaultdict(list, loss=[1.0]),
        "dtype": torch.float32,
        "seen": {1, 2},
    }
    torch.save(kept, HERE / "training.pth.tar")


if __name__ == "__main__":
    main()
