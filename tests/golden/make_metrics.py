"""Write `metrics.npz`: `python tests/golden/make_metrics.py`, with scikit-learn installed.

It contains scikit-learn's results for the same labels and scores, in float64. The test suite reads
the file and needs no scikit-learn. Undefined values are NaN.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.metrics as sk
from metric_cases import CASES, Case, logits_of
from sklearn.exceptions import UndefinedMetricWarning

HERE = Path(__file__).parent
NAN = float("nan")


def softmax(logits: np.ndarray) -> np.ndarray:
    y = np.exp(logits - logits.max(axis=1, keepdims=True))
    return y / y.sum(axis=1, keepdims=True)


def expected(logits: np.ndarray, labels: np.ndarray, case: Case) -> dict[str, Any]:
    p, classes = softmax(logits), np.arange(logits.shape[1])
    guesses = p.argmax(axis=1)
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        labels, guesses, labels=classes, zero_division=np.nan
    )
    own = [labels == c for c in classes]
    mixed = [c for c in classes if 0 < own[c].sum() < len(labels)]
    one_class = len(set(labels) | set(guesses)) == 1
    out = {
        "top1": sk.accuracy_score(labels, guesses),
        "loss": sk.log_loss(labels, p, labels=classes),
        "macro_f1": sk.f1_score(labels, guesses, average="macro"),
        "weighted_f1": sk.f1_score(labels, guesses, average="weighted"),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, guesses),
        "kappa": NAN if one_class else sk.cohen_kappa_score(labels, guesses),
        "mcc": sk.matthews_corrcoef(labels, guesses),
        "brier": sk.brier_score_loss(labels, p if len(classes) > 2 else p[:, 1], labels=classes),
        "auc": np.mean([sk.roc_auc_score(own[c], p[:, c]) for c in mixed]) if mixed else NAN,
        "average_precision": (
            np.mean([sk.average_precision_score(own[c], p[:, c]) for c in mixed]) if mixed else NAN
        ),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "support": support,
        "specificity": [
            sk.recall_score(~own[c], guesses != c, zero_division=np.nan) for c in classes
        ],
    }
    if len(mixed) == len(classes) > 2:
        out["macro_auc"] = sk.roc_auc_score(labels, p, multi_class="ovr", average="macro")
    if case.digits and len(classes) > 2:
        out[f"top{case.k}"] = sk.top_k_accuracy_score(labels, p, k=case.k, labels=classes)
    if mixed:
        c = mixed[0]
        fpr, tpr, _ = sk.roc_curve(own[c], p[:, c], drop_intermediate=False)
        out["roc"] = np.stack([fpr, tpr])
        some_precision, some_recall, _ = sk.precision_recall_curve(own[c], p[:, c])
        out["pr"] = np.stack([some_recall, some_precision])
        out["of"] = c
    return out


if __name__ == "__main__":
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", UndefinedMetricWarning)
    warnings.filterwarnings("ignore", "y_pred contains classes not in y_true")
    warnings.filterwarnings("ignore", "A single label was found")
    found: dict[str, Any] = {}
    for name, case in CASES.items():
        logits, labels = logits_of(case)
        for key, value in expected(logits, labels, case).items():
            found[f"{name}/{key}"] = np.array(value)
    np.savez_compressed(HERE / "metrics.npz", **found)
    print(f"metrics.npz: {(HERE / 'metrics.npz').stat().st_size:,} bytes")
