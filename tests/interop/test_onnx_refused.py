"""ONNX graphs that no config expresses: one line that names operator and place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx_files import RNG, around, constant, imported, node, write

from cnn_cli.errors import DataError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(
    ("middle", "constants", "got"),
    [
        ([node("Mish", "a", "z")], {}, "operator mish_z is of an unknown kind. Got Mish."),
        (
            [node("Gelu", "a", "z", approximate="tanh")],
            {},
            "approximate of gelu_z (Gelu) must be none. Got tanh.",
        ),
        (
            [node("Resize", "a - s", "z", mode="nearest")],
            {"s": constant([1, 1, 1.5, 2])},
            "operator resize_z (Resize) must make rows and columns whole times as many. "
            "Got (1.0, 1.0, 1.5, 2.0).",
        ),
        (
            [
                node(
                    "Resize",
                    "a - s",
                    "z",
                    mode="nearest",
                    coordinate_transformation_mode="align_corners",
                )
            ],
            {"s": constant([1, 1, 3, 2])},
            "operator resize_z (Resize) must repeat each row and column. "
            "Got align_corners, round_prefer_floor.",
        ),
        (
            [node("Slice", "a zero all rows two", "z")],
            {
                "zero": constant([0], "i8"),
                "all": constant([99], "i8"),
                "rows": constant([2], "i8"),
                "two": constant([2], "i8"),
            },
            "operator slice_z (Slice) must take some one after another. Got axis 2.",
        ),
        (
            [node("Pad", "a p", "z", mode="reflect")],
            {"p": constant([0, 0, -1, 0, 0, 0, 1, 0], "i8")},
            "operator pad_z (Pad) must cut nothing off where it mirrors. "
            "Got (0, 0, -1, 0, 0, 0, 1, 0).",
        ),
        (
            [node("Pow", "a three", "z")],
            {"three": constant(3)},
            "operator pow_z (power) is no layer that a config can express.",
        ),
        (
            [node("Relu", "a", "p"), node("Div", "a p", "z")],
            {},
            "operator div_z (quotient) is no layer that a config can express.",
        ),
        (
            [
                node("GlobalAveragePool", "a", "p"),
                node("Reshape", "p row", "q"),
                node("Conv", "q k", "r", pads=[1, 1]),
                node("Reshape", "r back", "s"),
                node("Add", "a s", "z"),
            ],
            {
                "row": constant([0, 1, -1], "i8"),
                "back": constant([0, -1, 1, 1], "i8"),
                "k": RNG.normal(size=(1, 1, 3)).astype("f4"),
            },
            None,
        ),
        (
            [
                node("GlobalAveragePool", "a", "p"),
                node("Shape", "a", "shape"),
                node("Expand", "p shape", "q"),
                node("Relu", "q", "z"),
            ],
            {},
            "operator relu_z (Relu) must not read what is repeated, apart from a product. Got q.",
        ),
        (
            [node("Clip", "a low", "z")],
            {"low": constant(-1)},
            "operator clip_z (clip) is no layer that a config can express.",
        ),
        (
            [node("Add", "a s", "z")],
            {"s": RNG.normal(size=(6, 6)).astype("f4")},
            "operator add_z (Add) must have one number, or one a channel. Got others.",
        ),
        (
            [node("Reshape", "a to", "p"), node("Reshape", "p back", "z")],
            {"to": constant([0, 8, 12, 3], "i8"), "back": constant([0, 8, 6, 6], "i8")},
            "operator reshape_p (Reshape) must be a layer of an image. Got x cannot be cut in 2.",
        ),
    ],
)
def test_what_cannot_be_expressed(
    tmp_path: Path, middle: Any, constants: Any, got: str | None
) -> None:
    path = write(tmp_path / "a.onnx", *around(middle, constants))
    with pytest.raises(DataError) as caught:
        imported(path)
    if got is not None:
        assert caught.value.line() == f"{path}: {got}"
    assert not path.with_suffix(".npz").exists()
