"""The result of a training of folds, as text and JSON."""

from __future__ import annotations

from shlex import quote
from typing import Any

from cnn_cli.inference.out_of_fold import OutOfFold, Spread
from cnn_cli.metric_names import TOP1, Metric, default_monitor
from cnn_cli.report.text.numbers import number
from cnn_cli.report.text.table import format_pairs, format_table
from cnn_cli.report.text.training_result import result_dict
from cnn_cli.runs.folder import OUT_OF_FOLD
from cnn_cli.training.folds import FoldsResult

NAMES = {TOP1.name: "top-1"}
COLUMNS = ("loss", "macro_f1")  # of the table, after the metric that training monitors


def folds_dict(result: FoldsResult) -> dict[str, Any]:
    """Return what `cnn train --folds --json` prints."""
    of = result.predictions
    return {
        "run": str(result.run),
        "folds": [result_dict(each) for each in result.folds],
        "stopped": result.stopped,
        "metrics": None if of is None else _metrics(of),
        "out_of_fold": None if of is None else str(result.run / OUT_OF_FOLD),
    }


def folds_text(result: FoldsResult) -> str:
    """Return a short text with a table of the folds, and the next commands."""
    pairs = [("run", str(result.run))] if result.run.exists() else []
    done = len(result.folds) - (result.stopped is not None and bool(result.folds))
    pairs.append(("folds", f"{done} of {result.count}"))
    if result.stopped is not None:
        pairs.append(("stopped", result.stopped))
    seconds = sum(each.seconds for each in result.folds)
    of = result.predictions
    if of is None:
        return format_pairs([*pairs, ("time", f"{seconds:.1f} s")])
    pairs += [(NAMES.get(name, name), _spread(one)) for name, one in of.spreads().items()]
    pairs.append(("out of fold", str(result.run / OUT_OF_FOLD)))
    pairs.append(("time", f"{seconds:.1f} s"))
    pairs.append(("next", f"cnn report {quote(str(result.run))}"))
    return format_pairs(pairs) + "\n" + _table(result, of)


def _metrics(of: OutOfFold) -> dict[str, Any]:
    return {name: one and one.as_dict() for name, one in of.spreads().items()}


def _spread(one: Spread | None) -> str:
    return number(None) if one is None else f"{number(one.mean)} ± {number(one.std)}"


def _table(result: FoldsResult, of: OutOfFold) -> str:
    names = (default_monitor(of.classifiers[0].labels_kind).name, *COLUMNS)
    header = ("fold", "images", "best epoch", *(NAMES.get(name, name) for name in names))
    rows = [
        (
            str(fold.number),
            f"{len(fold.evaluation.labels):,}",
            str(one.best_epoch),
            *(number(fold.judgement.value(Metric(name))) for name in names),
        )
        for fold, one in zip(of.folds, result.folds, strict=True)
    ]
    return format_table(header, rows, "r" * len(header))
