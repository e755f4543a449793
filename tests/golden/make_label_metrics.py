"""Write `label_metrics.npz`: `python tests/golden/make_label_metrics.py`, with scikit-learn
installed.

It contains scikit-learn's results for the same labels and scores, in float64. The test suite reads
the file and needs no scikit-learn. Undefined values are NaN.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import sklearn.metrics as sk
from label_metric_cases import CASES, arrays_of

HERE = Path(__file__).parent
NAN = float("nan")


def expected(logits: np.ndarray, labels: np.ndarray, thresholds: np.ndarray) -> dict[str, Any]:
    p = 1 / (1 + np.exp(-logits))
    found, columns = (p >= thresholds).astype(int), range(labels.shape[1])
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        labels, found, average=None, zero_division=np.nan, labels=columns
    )
    mixed = [k for k in columns if 0 < labels[:, k].sum() < len(labels)]
    aucs = {k: sk.roc_auc_score(labels[:, k], p[:, k]) for k in mixed}
    precisions = {k: sk.average_precision_score(labels[:, k], p[:, k]) for k in mixed}
    f1_of = {
        average: sk.f1_score(labels, found, average=average, zero_division=np.nan, labels=columns)
        for average in ("macro", "micro", "weighted")
    }
    losses = [sk.log_loss(labels[:, k], p[:, k], labels=[0, 1]) for k in columns]
    briers = [np.mean((p[:, k] - labels[:, k]) ** 2) for k in columns]
    for k in mixed:
        np.testing.assert_allclose(briers[k], sk.brier_score_loss(labels[:, k], p[:, k]))
    tops = {k: np.argsort(-logits, axis=1, kind="stable")[:, :k] for k in (1, 2)}
    return {
        "loss": np.mean(losses),
        "macro_f1": f1_of["macro"],
        "micro_f1": f1_of["micro"],
        "weighted_f1": f1_of["weighted"],
        "subset_accuracy": sk.accuracy_score(labels, found),
        "brier": np.mean(briers),
        "auc": np.mean(list(aucs.values())) if mixed else NAN,
        "average_precision": np.mean(list(precisions.values())) if mixed else NAN,
        "top1": np.take_along_axis(labels, tops[1], axis=1).any(axis=1).mean(),
        "top2": np.take_along_axis(labels, tops[2], axis=1).any(axis=1).mean(),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "support": labels.sum(axis=0),
        "ap": [precisions.get(k, NAN) for k in columns],
    }


if __name__ == "__main__":
    out: dict[str, Any] = {}
    for name in CASES:
        out |= {f"{name}/{key}": value for key, value in expected(*arrays_of(name)).items()}
    np.savez_compressed(HERE / "label_metrics.npz", **out)
