"""Checkpoints saved again with `np.savez_compressed`, and zip bombs."""

from __future__ import annotations

import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from checkpoints import error_of, npy, npy_header, write_zip

from cnn_cli import system
from cnn_cli.errors import DataError
from cnn_cli.nn.types import Array
from cnn_cli.runs.checkpoint import MOST_META, load_checkpoint

STORED = Path(__file__).parent / "data/checkpoint-v1.npz"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "last.npz"


def arrays() -> dict[str, Array]:
    with np.load(STORED) as archive:
        return dict(archive)


def members() -> dict[str, bytes]:
    return {f"{name}.npy": npy(array) for name, array in arrays().items()}


def refusal(path: Path, most: int) -> str:
    """Return the error for a file, and assert that it took at most `most` bytes."""
    tracemalloc.start()
    error = error_of(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < most
    return error


@pytest.mark.parametrize("groups", [None, ("model",)])
def test_it_is_the_same(path: Path, groups: tuple[str, ...] | None) -> None:
    np.savez_compressed(path, **arrays())  # type: ignore[arg-type]  # its allow_pickle is newer than NumPy 2.0
    one, other = load_checkpoint(STORED, groups), load_checkpoint(path, groups)
    assert one.meta == other.meta
    assert one.groups.keys() == other.groups.keys()
    for group, named in one.groups.items():
        assert named.keys() == other.groups[group].keys()
        for name, array in named.items():
            np.testing.assert_array_equal(array, other.groups[group][name], strict=True)


def test_every_truncation_is_noticed(path: Path) -> None:
    write_zip(path, members(), zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    for size in range(4, len(content), 29):
        path.write_bytes(content[:size])
        assert error_of(path).startswith("is damaged or cut short"), size


def test_flipped_bits_never_change_a_number(path: Path) -> None:
    """Some compressed bits are padding and mean nothing."""
    write_zip(path, members(), zipfile.ZIP_DEFLATED)
    content, model = path.read_bytes(), load_checkpoint(path).groups["model"]
    begin = content.index(b"model/")
    end = content.index(b"PK\x03\x04", begin)
    refused = 0
    for place in range(begin + 50, end, 5):
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        try:
            loaded = load_checkpoint(path).groups["model"]
        except DataError:
            refused += 1
        else:
            assert all((loaded[name] == model[name]).all() for name in model)
    assert refused > 0.9 * (end - begin - 50) / 5


def test_more_than_its_network_accounts_for(path: Path) -> None:
    bomb = npy_header("'<f8'", "(12500000,)") + bytes(100_000_000)
    for name in ("model/a.npy", "anything/a.npy"):
        write_zip(path, members() | {name: bomb}, zipfile.ZIP_DEFLATED)
        assert path.stat().st_size < 200_000
        assert refusal(path, 2_000_000) == (
            "must not unpack to more than 33.6 MB, the most for its network. Got 100.0 MB."
        )


def test_many_members_add_up(path: Path) -> None:
    part = npy(np.zeros(125_000))
    many = {f"optimizer/{i}.npy": part for i in range(40)}
    write_zip(path, members() | many, zipfile.ZIP_DEFLATED)
    assert refusal(path, 2_000_000) == (
        "must not unpack to more than 33.6 MB, the most for its network. Got 40.0 MB."
    )


def test_more_than_there_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zip(path, members(), zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(system, "available_memory", lambda: 1000)
    size = sum(map(len, members().values()))
    assert error_of(path) == f"must fit into memory. Got {size / 1000:.1f} kB of 1.0 kB."


def test_a_document_that_is_the_bomb(path: Path) -> None:
    text = npy_header("'|u1'", f"({MOST_META},)") + bytes(MOST_META)
    write_zip(path, members() | {"meta.npy": text}, zipfile.ZIP_DEFLATED)
    assert refusal(path, 2_000_000) == "meta must have at most 16.8 MB, compressed. Got 16.8 MB."


def test_a_network_that_is_none(path: Path) -> None:
    meta = arrays()["meta"].tobytes().replace(b'"linear"', b'"linaer"')
    changed = members() | {"meta.npy": npy(np.frombuffer(meta, np.uint8))}
    write_zip(path, changed, zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="linaer"):
        load_checkpoint(path)


@pytest.mark.parametrize("declared", [176, 10_000_000])
def test_a_size_that_lies(path: Path, declared: int) -> None:
    """The directory declares less, or more, than there is: no more than declared is unpacked."""
    content = npy_header("'<f8'", f"({(declared - 128) // 8},)") + bytes(50_000_000)
    packed = zlib.compress(content, wbits=-15)
    write_zip(path, members() | {"model/a.npy": b""}, zipfile.ZIP_DEFLATED)
    if declared > 1_000_000:
        packed = zlib.compress(content[:1000], wbits=-15)
    name, fields = b"model/a.npy", struct.pack("<LLL", 0, len(packed), declared)
    with zipfile.ZipFile(path) as archive:
        start = archive.start_dir
        at = archive.getinfo(name.decode()).header_offset
    old = path.read_bytes()
    local = old[at : at + 14] + fields + struct.pack("<HH", len(name), 0) + name + packed
    directory = bytearray(old[start:])
    entry = directory.index(name) - 46
    directory[entry + 16 : entry + 28] = fields
    end = len(directory) - 22
    directory[end + 16 : end + 20] = struct.pack("<L", at + len(local))
    path.write_bytes(old[:at] + local + directory)
    assert refusal(path, 25_000_000).startswith("is damaged or cut short. Got ")


def test_another_compression(path: Path) -> None:
    write_zip(path, members(), zipfile.ZIP_BZIP2)
    rule = "must be as numpy.savez or numpy.savez_compressed writes. Got another compression of"
    assert error_of(path).startswith(rule)
