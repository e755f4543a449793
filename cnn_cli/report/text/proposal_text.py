"""The proposal of `cnn init`, as text and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cnn_cli.proposal.propose import Proposal
from cnn_cli.proposal.words import (
    balance_text,
    counts_text,
    network_text,
    notes,
    pictures_text,
    speed_text,
    time_text,
)
from cnn_cli.report.text.table import format_pairs


def proposal_text(proposal: Proposal, file: Path, budget: float) -> str:
    """Return one fact per line, and finally the next command."""
    survey, choice = proposal.survey, proposal.choice
    pairs = [
        ("found", f"{counts_text(survey)}; {balance_text(survey)}"),
        ("images", pictures_text(survey)),
        ("network", network_text(choice)),
        ("speed", speed_text(choice)),
        ("training", f"{choice.epochs} epochs, about {time_text(choice.seconds)}"),
        *(("note", note) for note in notes(survey, choice, budget)),
        ("written", str(file)),
        ("next", proposal.next),
    ]
    return format_pairs(pairs)


def proposal_dict(proposal: Proposal, file: Path) -> dict[str, Any]:
    """Return what `cnn init --json` prints; rates are in images per second."""
    survey, choice = proposal.survey, proposal.choice
    return {
        "config": str(file),
        "found": {
            "classes": list(survey.classes),
            "train": list(survey.train),
            "val": None if survey.val is None else list(survey.val),
            "test": survey.test,
            "width": survey.width,
            "height": survey.height,
            "grey": survey.gray,
            "bands": survey.bands,
            "depth": survey.depth,
            "looked_at": survey.looked_at,
            "unreadable": survey.unreadable,
        },
        "chosen": {
            "image_size": list(choice.network.size),
            "channels": proposal.config.data.channels,
            "network": choice.network.kind if choice.tuning is None else choice.tuning.weights,
            "weights": None if choice.tuning is None else choice.tuning.weights,
            "batch_size": choice.batch_size,
            "epochs": choice.epochs,
            "seconds": choice.seconds,
            "fits": choice.fits,
        },
        "measured": {
            "training": choice.speed.training,
            "prediction": choice.speed.prediction,
            "decoding": choice.speed.decoding,
            "augmenting": choice.speed.augmenting,
        },
        "next": proposal.next,
    }
