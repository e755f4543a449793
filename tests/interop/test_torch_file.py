"""PyTorch files, read without PyTorch and without running their code."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_cli.errors import DataError
from cnn_cli.interop.foreign import Foreign
from cnn_cli.interop.readers.torch_file import LEGACY_MAGIC, LEGACY_PROTOCOL, read_torch
from cnn_cli.interop.reading import read_foreign
from cnn_cli.nn.types import Array

DATA = Path(__file__).parent / "data"


def expected() -> dict[str, Array]:
    with np.load(DATA / "weights.npz") as file:
        return {name: file[name] for name in file.files if "num_batches" not in name}


def flat(foreign: Foreign) -> dict[str, Array]:
    return {
        f"{module.name}.{param}": array
        for module in foreign.modules
        for param, array in module.arrays.items()
    }


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth"])
def test_both_forms(name: str) -> None:
    foreign = read_foreign(DATA / name)
    found, wanted = flat(foreign), expected()
    assert list(found) == list(wanted)
    for key, array in wanted.items():
        np.testing.assert_array_equal(found[key], array)
    kinds = [(module.name, module.kind) for module in foreign.modules]
    assert kinds == [("conv1", "conv"), ("bn1", "norm"), ("fc", "linear")]


def test_a_checkpoint_of_half_precision_views_and_parameters() -> None:
    found = flat(read_torch(DATA / "checkpoint.pth"))
    for key, array in expected().items():
        tolerance = 8e-3 if "conv" in key else 1e-3  # 8 and 11 bits
        np.testing.assert_allclose(found[key], array, rtol=tolerance, atol=1e-6)
    assert found["conv1.weight"].dtype == np.float32
    assert found["fc.bias"].dtype == np.float16


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_torch(path)
    line = caught.value.line()
    assert line.startswith(f"{path}: ")
    assert caught.value.code == 4
    return line.removeprefix(f"{path}: ")


def test_a_whole_module_is_code() -> None:
    rule = "must hold tensors and plain containers only. Got "
    assert refused(DATA / "whole.pth").startswith(rule + "torch.nn.modules.")


class Calls:
    """Pickles to a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def zipped(path: Path, content: bytes, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", content)
        for name, member in members.items():
            archive.writestr(f"x/data/{name}", member)
    return path


@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "posix.system"), (eval, "builtins.eval"), (print, "builtins.print")],
)
def test_calls_are_refused(tmp_path: Path, function: Any, name: str) -> None:
    marker = tmp_path / "ran"
    content = pickle.dumps({"a": Calls(function, f"touch {marker}")}, 2)
    name = name.replace("builtins", "__builtin__") if b"__builtin__" in content else name
    rule = "must hold tensors and plain containers only. Got "
    assert refused(zipped(tmp_path / "a.pth", content)) == f"{rule}{name}."
    legacy = tmp_path / "b.pth"
    start = [LEGACY_MAGIC, LEGACY_PROTOCOL, {"little_endian": True}]
    legacy.write_bytes(b"".join(pickle.dumps(each, 2) for each in start) + content)
    assert refused(legacy) == f"{rule}{name}."
    assert not marker.exists()


def by_hand(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], numel: int) -> bytes:
    """Return the pickle of `{"a.weight": tensor}`, opcode by opcode."""

    def ints(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    storage = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuJ" + struct.pack("<i", numel)
    start = b"ctorch._utils\n_rebuild_tensor_v2\n("
    tensor = start + storage + b"tQJ" + struct.pack("<i", offset)
    return b"\x80\x02}U\x08a.weight" + tensor + ints(shape) + ints(strides) + b"\x89}tRs."


def test_tensors_by_hand(tmp_path: Path) -> None:
    numbers = np.arange(6, dtype="<f4")
    content = by_hand(1, (2, 2), (1, 2), 6)
    path = zipped(tmp_path / "a.pth", content, **{"0": numbers.tobytes()})
    np.testing.assert_array_equal(flat(read_torch(path))["a.weight"], [[1, 3], [2, 4]])


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "numel"),
    [
        (0, (7,), (1,), 6),  # beyond the end
        (1, (6,), (1,), 6),
        (0, (2, 3), (4, 1), 6),
        (0, (100000, 100000), (0, 0), 6),  # a few numbers, repeated many times
        (-1, (2,), (1,), 6),
        (0, (-1,), (1,), 6),
        (3, (2,), (-1,), 6),
        (0, (6,), (1, 1), 6),
    ],
)
def test_tensors_beyond_their_numbers(
    tmp_path: Path, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], numel: int
) -> None:
    content = by_hand(offset, shape, strides, numel)
    path = zipped(tmp_path / "a.pth", content, **{"0": bytes(24)})
    assert refused(path).startswith("must be a sound file of torch.save. Got ")


def test_a_storage_of_another_size(tmp_path: Path) -> None:
    content = by_hand(0, (6,), (1,), 6)
    path = zipped(tmp_path / "a.pth", content, **{"0": bytes(20)})
    assert refused(path) == "must be a sound file of torch.save. Got a wrong size of data/0."


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ({"epoch": 3}, "no mapping of names to tensors, but epoch"),
        ([1, 2], "no mapping of names to tensors, but a list"),
        ({}, "no mapping of names to tensors, but nothing"),
        (OrderedDict(state_dict={"a": 1}), "no mapping of names to tensors, but state_dict"),
    ],
)
def test_no_tensors(tmp_path: Path, content: Any, got: str) -> None:
    path = zipped(tmp_path / "a.pth", pickle.dumps(content, 2))
    assert refused(path) == f"must be a sound file of torch.save. Got {got}."


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth"])
def test_files_cut_short_are_one_line(tmp_path: Path, name: str) -> None:
    whole = (DATA / name).read_bytes()
    path = tmp_path / "cut.pth"
    for length in range(0, len(whole) - 1, 97):
        path.write_bytes(whole[:length])
        assert "\n" not in refused(path)


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth"])
def test_damaged_files_do_no_harm(tmp_path: Path, name: str) -> None:
    whole = bytearray((DATA / name).read_bytes())
    rng = np.random.default_rng(1)
    path = tmp_path / "damaged.pth"
    for _ in range(300):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 3):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        with suppress(DataError):
            read_torch(path)


def test_a_training_with_all_that_it_keeps() -> None:
    """Options, NumPy numbers, paths and devices are skipped, and no code of them runs."""
    path = DATA / "training.pth.tar"
    foreign = read_foreign(path)
    found = flat(foreign)
    assert foreign.notes == (
        "weights are those that were trained; --which ema takes their average",
    )
    for key, array in expected().items():
        np.testing.assert_array_equal(found[f"module.{key}"], array)
    ema = flat(read_foreign(path, which="ema"))
    for key, array in expected().items():
        np.testing.assert_array_equal(ema[key], 2 * array)
    assert read_foreign(path, which="model").notes == ()
    with pytest.raises(DataError, match=r"Got no average of the weights \(ema\)\."):
        read_torch(DATA / "zip.pth", "ema")


@pytest.mark.parametrize("name", ["a.pt", "a.ckpt", "a.bin", "a.pth.tar", "a.weights"])
def test_files_are_known_by_their_content(tmp_path: Path, name: str) -> None:
    for source in ("zip.pth", "legacy.pth"):
        (tmp_path / name).write_bytes((DATA / source).read_bytes())
        assert list(flat(read_foreign(tmp_path / name))) == list(expected())


def test_no_file_and_other_kinds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read\. Got no such file"):
        read_foreign(tmp_path / "a.pth")
    other = tmp_path / "a.tar"
    other.write_bytes(b"x")
    with pytest.raises(DataError, match=r"must be .safetensors, .* Got a name ending in '.tar'."):
        read_foreign(other)
