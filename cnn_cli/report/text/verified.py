"""The result of `cnn verify` as text."""

from __future__ import annotations

from cnn_cli.errors import listed
from cnn_cli.report.text.table import format_pairs
from cnn_cli.runs.verify import Verified

WORDS = {"train": "training", "val": "validation"}


def verified_text(found: Verified) -> str:
    """Return what is the same, and a line for each change."""
    pairs = [
        (WORDS[part], f"{count:,} images, {_same(found.same[part])}")
        for part, count in found.images.items()
    ]
    pairs.append(("config", _same(found.config == [])))
    pairs += [("changed", each) for each in found.during]
    rows = [
        "\t".join([each.kind, each.part, each.path, *filter(None, [each.what])])
        for each in found.changes or []
    ]
    return format_pairs(pairs) + "".join(f"{row}\n" for row in rows)


def _same(is_same: bool) -> str:
    return "the same" if is_same else "changed"


def difference_text(found: Verified) -> str:
    """Return what differs, in words, for the error."""
    parts = []
    if found.changes is None:
        changed = [WORDS[part] for part, is_same in found.same.items() if not is_same]
        parts.append(f"other {' and '.join(changed)} images, and no list that names them")
    for kind in ("added", "changed", "removed"):
        count = sum(each.kind == kind for each in found.changes or [])
        if count:
            parts.append(f"{count:,} {kind}")
    if found.config is None:
        parts.append("another config in the checkpoint")
    elif found.config:
        parts.append(f"another {listed(found.config)} in config.yaml")
    if found.during:
        parts.append("images that changed during the training")
    return ", ".join(parts)
