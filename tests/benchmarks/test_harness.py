"""What the benchmarks share: whose turn it is, and the table."""

from __future__ import annotations

import harness
import pytest
from harness import Comparison


def test_rivals_are_beside_ours_and_the_best_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    table = Comparison(["eager", "compile"])
    table.add("seed", 4, {"numpy": 2.0, "fast": 1.0, "eager": 4.0, "compile": 0.5})
    table.add("vgg", 4, {"numpy": 2.0, "fast": 1.0, "eager": 4.0})
    table.print("images/s")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[4] == ["seed", "4", "2.0", "4.0", "1.0", "8.0", "compile", "0.25", "0.50"]
    assert lines[5] == ["vgg", "4", "2.0", "4.0", "1.0", "eager", "2.00", "4.00"]


def test_what_is_beaten_in_the_first_round_has_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def seconds_of(act: object) -> float:
        calls.append("slow" if act is slow else "quick")
        return 4.0 if act is slow else 1.0

    def slow() -> None:
        pass

    monkeypatch.setattr(harness, "seconds_of", seconds_of)
    acts = {"slow": slow, "quick": lambda: None}
    assert harness.alternate(acts, 3, least=1, beaten=3.0) == {"slow": 4.0, "quick": 1.0}
    assert calls.count("slow") == 1 + 1  # once to see how long it takes
    assert calls.count("quick") == 1 + 3


def test_an_unknown_rival(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        harness.chosen_rivals("eager,tensorflow", ["eager", "compile"])
    assert capsys.readouterr().err.endswith("no rival tensorflow; there are eager, compile\n")
