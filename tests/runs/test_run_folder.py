"""The choice of a run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnn_cli.runs.folder import LOG, choose_folder
from cnn_cli.runs.lock import LOCK


@pytest.mark.parametrize("name", [LOG, LOCK])
def test_a_folder_with_a_log_or_a_lock_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Including a lock alone: that training has not reached its first checkpoint."""
    monkeypatch.chdir(tmp_path)
    for taken, expected in (("net", "net-2"), ("net-2", "net-3"), ("net-7", "net-8")):
        (tmp_path / "runs" / taken).mkdir(parents=True)
        (tmp_path / "runs" / taken / name).touch()
        folder = choose_folder(None, "net.yaml", resume=False, overwrite=False)
        assert folder == Path("runs") / expected


def test_an_empty_folder_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("net", "net-2", "net-x"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert choose_folder(None, "net.yaml", resume=False, overwrite=False) == Path("runs/net")
