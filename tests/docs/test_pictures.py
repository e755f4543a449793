"""Committed pictures match the program's output: names and columns, not pixels."""

from __future__ import annotations

import re
from html import unescape

import pytest
from diagrams import DIAGRAMS
from make_pictures import FOLDER, SESSION

from cnn_cli.cli.shared.bars import epoch_row
from cnn_cli.runs.results import EpochRow


@pytest.mark.parametrize("name", DIAGRAMS)
def test_diagrams_are_up_to_date(name: str) -> None:
    """If not, run `python tests/docs/make_pictures.py --diagrams`."""
    assert (FOLDER / f"{name}.svg").read_text(encoding="utf-8") == DIAGRAMS[name]()


def shown() -> list[str]:
    """Return the lines of the recorded terminal."""
    text = (FOLDER / "terminal.svg").read_text(encoding="utf-8")
    return [unescape(line) for line in re.findall(r"<text [^>]*>(.*?)</text>", text)]


def test_the_recorded_terminal_fits_80_columns() -> None:
    assert [line for line in shown() if len(line) > 80] == []


def test_the_recorded_terminal_shows_the_commands_and_their_columns() -> None:
    lines = shown()
    for line in SESSION:
        assert f"$ {line}" in lines
    row = EpochRow(
        epoch=1,
        lr=0.1,
        train_loss=1.0,
        train_top1=0.5,
        val_loss=1.0,
        val_top1=0.5,
        seconds=1.0,
        images_per_second=100.0,
    )
    header, _ = epoch_row(row, 16, True, 80)
    assert header in lines
    for name in ("run", "epochs", "train", "validation", "kept", "time", "next"):
        assert any(line.startswith(f"{name}  ") for line in lines), name
