"""Files that are not checkpoints, or pretend to be: one error each, and nothing is trusted."""

from __future__ import annotations

import os
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import META, error_of, example, meta_bytes, npy, npy_header, write_zip

from cnn_cli.errors import DataError
from cnn_cli.nn.types import Array
from cnn_cli.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "last.npz"


def attempt(path: Path) -> Checkpoint | None:
    """Load a file; exceptions other than DataError fail the test."""
    try:
        return load_checkpoint(path)
    except DataError:
        return None


def test_absent(path: Path) -> None:
    assert error_of(path) == "cannot be read. Got no such file or directory."


def test_a_folder(tmp_path: Path) -> None:
    assert error_of(tmp_path) == "cannot be read. Got a folder."


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_without_permission(path: Path) -> None:
    save_checkpoint(path, example())
    path.chmod(0)
    assert error_of(path) == "cannot be read. Got permission denied."


def test_a_device() -> None:
    assert error_of(Path("/dev/null")) == "must be a regular file."


def test_not_an_npz(path: Path) -> None:
    path.write_bytes(b"")
    assert error_of(path) == "must be a checkpoint, an .npz file. Got an empty file."
    for content in (b"P", b"hello", npy(np.zeros(3)), bytes(1000)):
        path.write_bytes(content)
        assert error_of(path) == "must be a checkpoint, an .npz file. Got a file of another kind."


def test_every_truncation_is_noticed(path: Path) -> None:
    save_checkpoint(path, example())
    content = path.read_bytes()
    short = path.with_name("short.npz")
    for size in range(len(content)):
        short.write_bytes(content[:size])
        error = error_of(short)
        if size >= 4:
            assert error.startswith("is damaged or cut short"), (size, error)


def test_flipped_bits_never_crash(path: Path) -> None:
    save_checkpoint(path, example())
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(1500):
        broken = bytearray(content)
        for _ in range(int(rng.integers(1, 4))):
            broken[rng.integers(len(broken))] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        refused += attempt(path) is None  # flags and dates of the zip may change unnoticed
    assert refused > 1000


def test_random_npy_headers_never_crash(path: Path) -> None:
    """With a valid checksum, so that the zip format notices nothing."""
    rng = np.random.default_rng(1)
    good = npy(np.arange(6.0).reshape(2, 3))
    for _ in range(400):
        broken = bytearray(good)
        for _ in range(int(rng.integers(1, 4))):
            broken[rng.integers(128)] = int(rng.integers(256))
        write_zip(path, {"meta.npy": meta_bytes(), "model/a.npy": bytes(broken)})
        if (checkpoint := attempt(path)) is not None:
            assert checkpoint.groups["model"]["a"].nbytes <= 48


def test_a_wrong_checksum(path: Path) -> None:
    save_checkpoint(path, example())
    content = bytearray(path.read_bytes())
    place = content.index(np.arange(6, dtype=np.float32).tobytes())
    content[place + 4] ^= 1
    path.write_bytes(content)
    assert error_of(path) == (
        "is damaged or cut short. Got bad CRC-32 for file 'model/stem/weight.npy'."
    )


class Trap:
    """Records being unpickled."""

    sprung = False

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return spring, ()


def spring() -> None:
    Trap.sprung = True


def test_pickled_objects_are_never_loaded(path: Path) -> None:
    trap = np.empty(2, object)
    trap[:] = [Trap(), Trap()]
    members = {"meta.npy": meta_bytes(), "model/a.npy": npy(trap)}
    write_zip(path, members)
    assert error_of(path) == "must hold plain numbers only. Got pickled objects in model/a."
    np.savez(path, meta=trap)
    assert error_of(path) == "must hold plain numbers only. Got pickled objects in meta."
    assert not Trap.sprung


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.array(["a"]), "<U1"),
        (np.array([1j]), "complex128"),
        (np.array([True]), "bool"),
        (np.zeros(1, [("a", "<f4")]), "[('a', '<f4')]"),
        (np.array(["2020-01-01"], "M8[D]"), "datetime64[D]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_types_of_array(path: Path, array: Array, kind: str) -> None:
    write_zip(path, {"meta.npy": meta_bytes(), "model/a.npy": npy(array)})
    assert error_of(path) == f"must hold plain numbers only. Got type {kind} in model/a."


@pytest.mark.parametrize(
    "shape", ["(10**12,)", "(1000000, 1000000)", "(-1, -6)", "(5,)", "(7,)", "()", "(0, 10**40)"]
)
def test_shapes_that_the_file_does_not_hold(path: Path, shape: str) -> None:
    shape = shape.replace("10**12", str(10**12)).replace("10**40", str(10**40))
    member = npy_header("'<f8'", shape) + bytes(48)
    write_zip(path, {"meta.npy": meta_bytes(), "model/a.npy": member})
    tracemalloc.start()
    error = error_of(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert error == "is damaged or cut short. Got a wrong size of model/a."
    assert peak < 1_000_000


def test_an_endless_header(path: Path) -> None:
    member = npy_header("'<f8'", "(" + "(" * 5000, size=30_000)
    write_zip(path, {"meta.npy": meta_bytes(), "model/a.npy": member})
    assert error_of(path).startswith("is damaged or cut short. Got ")


def test_members_that_share_their_bytes(path: Path) -> None:
    """Many entries of the directory refer to one place in the file."""
    content = npy(np.zeros(1000))
    name = b"model/0000.npy"
    local = struct.pack(
        "<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 33, zlib.crc32(content), len(content),
        len(content), len(name), 0,
    )  # fmt: skip
    directory = b""
    for i in range(200):
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 33, zlib.crc32(content), len(content),
            len(content), len(name), 0, 0, 0, 0, 0, 0,
        ) + b"model/%04d.npy" % i  # fmt: skip
    body = local + name + content
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 200, 200, len(directory), len(body), 0)
    path.write_bytes(body + directory + end)
    assert error_of(path).startswith("is damaged or cut short. Got ")


def test_names(path: Path) -> None:
    rule = "must hold meta and arrays named group/name only. Got"
    for name in ("weight.npy", "model/.npy", "/a.npy", "model/a.txt", "readme"):
        write_zip(path, {"meta.npy": meta_bytes(), name: npy(np.zeros(1))})
        assert error_of(path) == f"{rule} {name.removesuffix('.npy')!r}."
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("model/a.npy", npy(np.zeros(1)))
        archive.writestr("model/a.npy", npy(np.ones(1)))
    assert error_of(path) == "must hold every array once. Got model/a twice."


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_must_be_finite(path: Path, value: float) -> None:
    for group in ("model", "ema", "precise_bn"):
        arrays: dict[str, Array] = {"a/weight": np.zeros(2), "b/bias": np.array([0, value])}
        save_checkpoint(path, Checkpoint(META, {group: arrays}))
        assert error_of(path) == f"{group}/b/bias must hold finite numbers only."


def test_an_optimizer_may_have_overflowed(path: Path) -> None:
    arrays = {"exp_avg_sq/a": np.array([np.inf])}
    save_checkpoint(path, Checkpoint(META, {"optimizer": arrays}))
    assert load_checkpoint(path).groups["optimizer"]["exp_avg_sq/a"] == np.inf
