"""The plots of a run folder, drawn when a training ends or stops."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from cnn_cli.runs.checkpoint import LAST
from cnn_cli.runs.folder import CONFUSION, CURVES, RunFolder

NAMES = (CURVES, CONFUSION)


def draw_pictures(path: Path) -> None:
    """Write `curves.png` and `confusion.png` if the extra `report` is installed.

    Plots newer than the checkpoint are kept, and plots that cannot be written are skipped.

    Args:
        path: the run folder.

    Raises:
        LockedError: another process continues the run.
    """
    curves, last = path / CURVES, path / LAST
    if find_spec("matplotlib") is None or not last.exists():
        return
    if curves.exists() and curves.stat().st_mtime_ns >= last.stat().st_mtime_ns:
        return
    if RunFolder(path).is_writable():
        _draw(path)


def _draw(path: Path) -> None:
    from cnn_cli.inference.metrics import Confusion
    from cnn_cli.inference.validation import GROUP, stored_confusion
    from cnn_cli.report.pictures.confusion_plot import confusion_png
    from cnn_cli.report.pictures.curves_plot import curves_png
    from cnn_cli.runs.checkpoint import load_checkpoint
    from cnn_cli.runs.state import TrainingState
    from cnn_cli.runs.stored_network import stored_config

    with RunFolder(path) as run:
        meta = load_checkpoint(run.last, ()).meta
        state = TrainingState.from_meta(meta, str(run.last))
        if run.best.exists():
            best = load_checkpoint(run.best, (GROUP,))
            matrix = stored_confusion(best)
            if matrix is not None:
                run.write(
                    CONFUSION, confusion_png(Confusion.of_matrix(matrix), best.meta["classes"])
                )
        if state.rows:
            keeps_last = stored_config(meta, str(run.last)).train.keeps_last
            run.write(CURVES, curves_png(state.rows, None if keeps_last else state.best_epoch))
