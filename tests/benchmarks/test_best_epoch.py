"""The rules that `best_epoch.py` compares, and its table."""

from __future__ import annotations

from pathlib import Path

import best_epoch
import numpy as np
import pytest
from best_epoch import EMA, MEAN, RULES


def test_each_rule_on_a_small_run() -> None:
    accuracy = np.array([0.1, 0.9, 0.5, 0.8, 0.8, 0.7])
    loss = np.array([3.0, 0.6, 2.0, 0.5, 0.4, 0.3])
    chosen = {name: rule(accuracy, loss) for name, rule in RULES.items()}
    assert chosen == {
        "highest accuracy": 1,
        "least loss": 5,
        "mean of 3 epochs": 5,
        "mean of 5 epochs": 5,
        "last epoch": 5,
    }
    assert RULES["highest accuracy"](np.array([0.9, 0.9]), np.array([0.5, 0.4])) == 1


def test_the_best_of_equal_epochs_is_too_high(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    right = rng.random((30, 2000)) < 0.8  # each epoch is as good as the others
    losses = np.where(right, 0.1, 2.0)
    scores = {f"{name} {what}": right[0] for name in (EMA, MEAN) for what in ("right", "losses")}
    np.savez(tmp_path / "even-0.npz", allow_pickle=False, right=right, losses=losses, **scores)
    best_epoch.print_table(tmp_path, 100, 50, tmp_path / "table.csv")
    header, _, first, *_ = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["set", "rule", "validation", "others"]
    assert first.split()[:5] == ["even,", "1", "runs", "highest", "accuracy"]
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert lines[0] == "set,seed,rule,validation,others"
    table = {line.split(",")[2]: [float(x) for x in line.split(",")[3:]] for line in lines[1:]}
    told, held = table["highest accuracy"]
    assert told - held > 0.05
    told, held = table["last epoch"]
    assert abs(told - held) < 0.02
