"""Checkpoints: what is written is read back, and nothing else is believed."""

from __future__ import annotations

import io
import json
import os
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stubs import small_graph

from cnn_cli.config.models import SGDConfig
from cnn_cli.errors import DataError
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array
from cnn_cli.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    resolve_checkpoint,
    save_checkpoint,
)
from cnn_cli.training.optimizer import make_optimizer

META: dict[str, Any] = {
    "config": {"model": {"layers": ["relu"]}},
    "classes": ["ant", "bée", "\udcff"],
    "preprocess": {"height": 28, "width": 32, "channels": 1, "resize_mode": "crop"},
    "mean": [0.5],
    "std": [0.25],
    "epoch": 3,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "last.npz"


def example() -> Checkpoint:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    return Checkpoint(
        dict(META),
        {
            "model": {"stem/weight": weight.T, "stem/bias": np.zeros(0)},
            "optimizer": {"step": np.array(7), "momentum_buffer/stem/weight": weight},
        },
    )


def error_of(path: Path, what: Callable[[Path], object] = load_checkpoint) -> str:
    """The message for a file, without its name."""
    with pytest.raises(DataError) as caught:
        what(path)
    line = caught.value.line()
    start = f"{path}: "
    assert line.startswith(start)
    return line[len(start) :]


def attempt(path: Path) -> Checkpoint | None:
    """Load; what else than a DataError is raised fails the test."""
    try:
        return load_checkpoint(path)
    except DataError:
        return None


def npy(array: Array) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array)
    return file.getvalue()


def header(descr: str, shape: str, *, size: int = 128) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    return (
        b"\x93NUMPY\x01\x00" + struct.pack("<H", size - 10) + text.ljust(size - 11).encode() + b"\n"
    )


def meta_bytes(**changes: Any) -> bytes:
    meta = {"format_version": 1, **META, **changes}
    return npy(np.frombuffer(json.dumps(meta).encode(), np.uint8))


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_round_trip(path: Path) -> None:
    saved = example()
    save_checkpoint(path, saved)
    loaded = load_checkpoint(path)
    assert loaded.meta == {"format_version": 1, **META}
    assert {group: list(arrays) for group, arrays in loaded.groups.items()} == {
        group: list(arrays) for group, arrays in saved.groups.items()
    }
    for group, arrays in saved.groups.items():
        for name, array in arrays.items():
            assert loaded.groups[group][name].dtype == array.dtype
            assert loaded.groups[group][name].shape == array.shape
            assert (loaded.groups[group][name] == array).all()


def test_numpy_reads_it_without_pickle(path: Path) -> None:
    save_checkpoint(path, example())
    with np.load(path, allow_pickle=False) as file:
        assert list(file) == [
            "meta",
            "model/stem/weight",
            "model/stem/bias",
            "optimizer/step",
            "optimizer/momentum_buffer/stem/weight",
        ]
        assert file["meta"].dtype == np.uint8
        assert json.loads(file["meta"].tobytes().decode("utf-8"))["format_version"] == 1


def test_arrays_of_another_byte_order(path: Path) -> None:
    array = np.arange(3, dtype=">f4")
    write_zip(path, {"meta.npy": meta_bytes(), "model/a.npy": npy(array)})
    assert load_checkpoint(path).groups["model"]["a"].tolist() == [0, 1, 2]


def test_only_the_groups_that_are_wanted(path: Path) -> None:
    save_checkpoint(path, example())
    assert list(load_checkpoint(path, groups=("model", "ema")).groups) == ["model"]


def test_a_network_and_its_optimizer(path: Path) -> None:
    rng = np.random.default_rng(0)
    params = Parameters(small_graph(), "float32")
    optimizer = make_optimizer(SGDConfig(), params)
    for _ in range(2):
        optimizer.step(rng.standard_normal(params.flat.size).astype(np.float32), 0.1)
    groups = {
        "model": params.named() | params.named_buffers(),
        "optimizer": optimizer.named_state(),
    }
    save_checkpoint(path, Checkpoint(META, groups))
    loaded = load_checkpoint(path)
    again = Parameters(small_graph(), "float32")
    again.load(loaded.groups["model"], str(path))
    restored = make_optimizer(SGDConfig(), again)
    restored.load_named_state(loaded.groups["optimizer"], str(path))
    assert all((again.named()[name] == array).all() for name, array in params.named().items())
    assert restored.steps == 2


def test_numbers_that_json_lacks_become_null(path: Path) -> None:
    rows = [{"val_loss": float("nan"), "lr": 0.1}, {"val_loss": float("inf"), "lr": (1, 2.5)}]
    save_checkpoint(path, Checkpoint(META | {"rows": rows}))
    assert load_checkpoint(path).meta["rows"] == [
        {"val_loss": None, "lr": 0.1},
        {"val_loss": None, "lr": [1, 2.5]},
    ]


def test_saving_and_loading_hold_no_second_copy(path: Path) -> None:
    array = np.ones((1500, 1000), np.float32)
    checkpoint = Checkpoint(META, {"model": {"a": array, "b": array[::2], "c": array.T}})
    save_checkpoint(path, example())  # imports
    tracemalloc.start()
    save_checkpoint(path, checkpoint)
    _, saving = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    loaded = load_checkpoint(path)
    _, loading = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    held = sum(a.nbytes for a in loaded.groups["model"].values())
    # NumPy writes and reads in pieces of 16 MB (here, one array), and checks for NaN in bools.
    assert saving < 2.5 * array.nbytes
    assert loading < held + 1.5 * array.nbytes


def test_a_failed_save_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(path, example())
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    changed = Checkpoint(META | {"epoch": 4})
    error = error_of(path, lambda path: save_checkpoint(path, changed))
    assert error == "cannot be written. Got no space left on device."
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["last.npz"]


def test_which_checkpoint_a_path_means(tmp_path: Path) -> None:
    assert resolve_checkpoint(tmp_path / "a.npz") == tmp_path / "a.npz"
    assert error_of(tmp_path, resolve_checkpoint) == (
        "must be a checkpoint, or a run folder with best.npz or last.npz."
    )
    save_checkpoint(tmp_path / "last.npz", example())
    assert resolve_checkpoint(tmp_path) == tmp_path / "last.npz"
    save_checkpoint(tmp_path / "best.npz", example())
    assert resolve_checkpoint(str(tmp_path)) == tmp_path / "best.npz"


def test_absent(path: Path) -> None:
    assert error_of(path) == "cannot be read. Got no such file or directory."


def test_a_folder(tmp_path: Path) -> None:
    assert error_of(tmp_path) == "cannot be read. Got is a directory."


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
    """Behind a good checksum, where the zip format notices nothing."""
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
        "is damaged or cut short. Got Bad CRC-32 for file 'model/stem/weight.npy'."
    )


class Trap:
    """Unpickling it would be noticed."""

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
    member = header("'<f8'", shape) + bytes(48)
    write_zip(path, {"meta.npy": meta_bytes(), "model/a.npy": member})
    tracemalloc.start()
    error = error_of(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert error == "is damaged or cut short. Got a wrong size of model/a."
    assert peak < 1_000_000


def test_an_endless_header(path: Path) -> None:
    member = header("'<f8'", "(" + "(" * 5000, size=30_000)
    write_zip(path, {"meta.npy": meta_bytes(), "model/a.npy": member})
    assert error_of(path).startswith("is damaged or cut short. Got ")


def test_a_zip_bomb_is_not_unpacked(path: Path) -> None:
    member = header("'<f8'", "(12500000,)") + bytes(100_000_000)
    write_zip(path, {"meta.npy": meta_bytes(), "model/a.npy": member}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    error = error_of(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert error == "must be uncompressed, as numpy.savez writes. Got meta."
    assert peak < 1_000_000


def test_members_that_share_their_bytes(path: Path) -> None:
    """Many entries of the directory that lead to one place in the file."""
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
        (np.frombuffer(b"[" * 100_000, np.uint8), "meta must be a JSON document."),
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


PREPROCESS = META["preprocess"]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"format_version": None}, "format_version must be a whole number above 0"),
        ({"format_version": "1"}, "format_version must be a whole number above 0"),
        ({"format_version": 0}, "format_version must be a whole number above 0"),
        ({"format_version": True}, "format_version must be a whole number above 0"),
        ({"config": None}, "config must be a mapping"),
        ({"config": []}, "config must be a mapping"),
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
        ({"preprocess": PREPROCESS | {"channels": 2}}, "preprocess.channels must be 1 or 3"),
        (
            {"preprocess": PREPROCESS | {"resize_mode": []}},
            "preprocess.resize_mode must be crop, squash or letterbox",
        ),
        ({"mean": None}, "mean must be a list of 1 finite numbers"),
        ({"mean": [1, 2]}, "mean must be a list of 1 finite numbers"),
        ({"mean": ["x"]}, "mean must be a list of 1 finite numbers"),
        ({"mean": [float("nan")]}, "mean must be a list of 1 finite numbers"),
        ({"std": [10**400]}, "std must be a list of 1 finite numbers"),
        ({"std": [0]}, "std must be above 0"),
    ],
    ids=range(26),
)
def test_meta_without_what_every_command_needs(
    path: Path, changes: dict[str, Any], rule: str
) -> None:
    write_zip(path, {"meta.npy": meta_bytes(**changes)})
    assert error_of(path) == f"meta.{rule}."


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
