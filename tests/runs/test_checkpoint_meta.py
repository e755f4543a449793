"""Invalid metadata of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import META, error_of, meta_bytes, npy, write_zip

from cnn_cli.nn.types import Array

PREPROCESS = META["preprocess"]
TTA = "config.augment.tta must be none, hflip, multicrop or tencrop"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "last.npz"


def test_an_npz_of_something_else(path: Path) -> None:
    write_zip(path, {"model/a.npy": npy(np.zeros(1))})
    assert error_of(path) == "must be a checkpoint of cnn. Got an .npz file without meta."
    write_zip(path, {})
    assert error_of(path) == "must be a checkpoint of cnn. Got an .npz file without meta."


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros(3), "meta must be text. Got float64 of shape (3,)."),
        (np.zeros((1, 3), np.uint8), "meta must be text. Got uint8 of shape (1, 3)."),
        (np.frombuffer(b"{", np.uint8), "meta must be a JSON document."),
        (np.frombuffer(b"\xff\xfe", np.uint8), "meta must be a JSON document."),
        (
            np.frombuffer(b"[" * 100_000, np.uint8),
            "meta must be at most 100 levels deep. Got deeper nesting.",
        ),
        (np.frombuffer(b"9" * 10_000, np.uint8), "meta must be a JSON document."),
        (np.frombuffer(b"[]", np.uint8), "meta must be a mapping. Got list."),
        (np.zeros(0, np.uint8), "meta must be a JSON document."),
    ],
    ids=range(8),
)
def test_meta_that_is_no_document(path: Path, array: Array, expected: str) -> None:
    write_zip(path, {"meta.npy": npy(array)})
    assert error_of(path) == expected


def test_a_newer_format(path: Path) -> None:
    write_zip(path, {"meta.npy": meta_bytes(format_version=2)})
    assert error_of(path) == (
        "was written by a newer version of cnn; this one reads formats to 1. Got format 2."
    )


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"format_version": None}, "format_version must be a whole number above 0"),
        ({"format_version": "1"}, "format_version must be a whole number above 0"),
        ({"format_version": 0}, "format_version must be a whole number above 0"),
        ({"format_version": True}, "format_version must be a whole number above 0"),
        ({"config": None}, "config must be a mapping"),
        ({"config": []}, "config must be a mapping"),
        ({"config": {"augment": {"tta": "vflip"}}}, TTA),
        ({"config": {"augment": {"tta": ["hflip"]}}}, TTA),
        ({"config": {"augment": {"tta": False}}}, TTA),
        ({"classes": None}, "classes must be a list of two or more different names"),
        ({"classes": "ab"}, "classes must be a list of two or more different names"),
        ({"classes": ["a"]}, "classes must be a list of two or more different names"),
        ({"classes": ["a", "a"]}, "classes must be a list of two or more different names"),
        ({"classes": ["a", ""]}, "classes must be a list of two or more different names"),
        ({"classes": ["a", 1]}, "classes must be a list of two or more different names"),
        ({"preprocess": 3}, "preprocess must be a mapping"),
        (
            {"preprocess": PREPROCESS | {"x": 1}},
            "preprocess must have the keys height, width, channels, resize_mode",
        ),
        (
            {"preprocess": {"height": 1}},
            "preprocess must have the keys height, width, channels, resize_mode",
        ),
        (
            {"preprocess": PREPROCESS | {"height": 0}},
            "preprocess.height must be a whole number above 0",
        ),
        (
            {"preprocess": PREPROCESS | {"width": 10**18}},
            "preprocess.width must be a whole number above 0",
        ),
        (
            {"preprocess": PREPROCESS | {"width": 1.5}},
            "preprocess.width must be a whole number above 0",
        ),
        ({"preprocess": PREPROCESS | {"channels": 2}}, "mean must be a list of 2 finite numbers"),
        (
            {"preprocess": PREPROCESS | {"resize_mode": []}},
            "preprocess.resize_mode must be crop, squash or letterbox",
        ),
        ({"mean": None}, "mean must be a list of 1 finite numbers"),
        ({"mean": [1, 2]}, "mean must be a list of 1 finite numbers"),
        ({"mean": ["x"]}, "mean must be a list of 1 finite numbers"),
        ({"mean": [float("nan")]}, "mean must be a list of 1 finite numbers"),
        ({"mean": [1e38]}, "mean must be a list of 1 finite numbers"),  # beyond float32
        ({"std": [10**400]}, "std must be a list of 1 finite numbers"),
        ({"std": [0]}, "std must be above 0"),
    ],
    ids=range(30),
)
def test_meta_without_what_every_command_needs(
    path: Path, changes: dict[str, Any], rule: str
) -> None:
    write_zip(path, {"meta.npy": meta_bytes(**changes)})
    assert error_of(path) == f"meta.{rule}."
