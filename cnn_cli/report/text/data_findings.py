"""The findings of `cnn data check`, as text and JSON."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from typing import Any

from cnn_cli.data.check import (
    FEW_IMAGES,
    IMBALANCE,
    LARGE_PIXELS,
    LONG_SIDE,
    SMALL_SIDE,
    Finding,
    Findings,
)
from cnn_cli.errors import printable
from cnn_cli.report.text.table import format_table

EXAMPLES = 3

TITLES = {
    "unreadable": "unreadable images, which training would skip",
    "two_classes": "the same file in two classes",
    "two_parts": "the same file in two parts, which makes metrics too good",
    "copies": "the same file more than once in a class",
    "near_two_classes": "images that look the same in two classes",
    "near_two_parts": "images that look the same in two parts, which makes metrics too good",
    "near_copies": "images that look the same in a class",
    "empty_class": "classes without a readable image",
    "small_class": f"classes with fewer than {FEW_IMAGES} images",
    "imbalance": f"classes of very different size, {IMBALANCE} times or more",
    "unknown_class": "classes that are not in train",
    "missing_class": "classes that are only in train",
    "similar_classes": "classes whose names differ in case or in how accents are written",
    "small": f"smaller than {SMALL_SIDE} pixels",
    "large": f"larger than {LARGE_PIXELS // 10**6} million pixels",
    "narrow": f"more than {LONG_SIDE} times as long as wide",
    "mode": "of an unusual kind",
    "not_image": "files without the extension of an image",
    "outside": "images outside the class folders, which training would not use",
}


def findings_dict(findings: Findings) -> dict[str, Any]:
    """Return everything for `--json`."""
    return {
        "root": findings.root,
        "images": sum(findings.images.values()),
        "parts": findings.parts,
        "findings": [
            {"kind": one.kind, "paths": list(one.paths), "detail": one.detail or None}
            for one in findings.found
        ],
        "remarks": list(findings.remarks),
        "error": None if findings.error is None else findings.error.line(),
        "near": None if findings.near is None else asdict(findings.near),
    }


def findings_text(findings: Findings) -> str:
    """Return a table of the parts, and for each kind of finding a title, a count and some
    examples.
    """
    rows = [
        _part_row(part, counts, findings.images[part]) for part, counts in findings.parts.items()
    ]
    header = ("part", "classes", "images", "fewest", "most")
    blocks = [format_table(header, rows, "lrrll")]
    groups: dict[str, list[Finding]] = defaultdict(list)
    for one in findings.found:
        groups[_title(one)].append(one)
    for title, group in groups.items():
        lines = [f"{title}: {len(group):,}", *(f"  {_line(one)}" for one in group[:EXAMPLES])]
        if len(group) > EXAMPLES:
            lines.append(f"  and {len(group) - EXAMPLES:,} more")
        blocks.append("".join(f"{line}\n" for line in lines))
    if not groups:
        blocks.append("nothing found\n")
    if findings.near is not None and findings.near.flat:
        blocks.append(f"images with too little contrast to compare: {findings.near.flat:,}\n")
    return "\n".join(blocks)


def _part_row(part: str, counts: dict[str, int], images: int) -> tuple[str, ...]:
    ends = ["", ""]
    if counts:
        few, many = (pick(counts, key=lambda name: counts[name]) for pick in (min, max))
        ends = [f"{counts[few]:,} ({few})", f"{counts[many]:,} ({many})"]
        if few == many:
            ends = [f"{counts[few]:,}"] * 2
    return part, f"{len(counts):,}", f"{images:,}", *ends


def _title(one: Finding) -> str:
    """Return the title of a finding; unusual images are grouped by their kind."""
    title = TITLES[one.kind]
    return f"{title}, {one.detail}" if one.kind == "mode" else title


def _line(one: Finding) -> str:
    text = " and ".join(one.paths[:EXAMPLES])
    if len(one.paths) > EXAMPLES:
        text = f"{', '.join(one.paths[:EXAMPLES])} and {len(one.paths) - EXAMPLES:,} more"
    elif len(one.paths) == EXAMPLES:
        text = f"{', '.join(one.paths[:-1])} and {one.paths[-1]}"
    return printable(text if not one.detail or one.kind == "mode" else f"{text}: {one.detail}")
