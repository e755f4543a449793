"""Features in a file, and nearest-neighbor search."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cnn_cli.errors import DataError
from cnn_cli.inference.index import Index, write_index
from cnn_cli.nn.types import Array

META = {"checkpoint": "/m.npz", "digest": "0", "layer": None}
NAMES = ["a.png", "é.png", "\udcff.png", "d.png"]


def saved(path: Path, features: Array, names: list[str] = NAMES) -> Index:
    batches = [(names[:3], features[:3]), (names[3:], features[3:])]
    with path.open("wb") as file:
        assert write_index(file, batches, META, path.parent) == len(names)
    return Index.open(path)


def test_numpy_reads_it_and_it_is_mapped(tmp_path: Path) -> None:
    features = np.random.default_rng(0).standard_normal((4, 7)).astype(np.float32)
    index = saved(tmp_path / "x.npz", features)
    np.testing.assert_array_equal(index.features, features)
    assert index.features.flags.aligned
    assert not index.features.flags.owndata
    assert index.features.ctypes.data % 64 == 0
    with np.load(tmp_path / "x.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["features"], features)
        assert [path.decode("utf-8", "surrogateescape") for path in archive["paths"]] == NAMES
    assert index.meta == META


def test_the_nearest_by_cosine(tmp_path: Path) -> None:
    features = np.array([[2, 0], [1, 1], [0, 0], [5, 5]], np.float32)
    index = saved(tmp_path / "x.npz", features)
    found = index.nearest(np.array([0.5, 0.5], np.float32), 9)
    assert [path for path, _ in found] == ["é.png", "d.png", "a.png", "\udcff.png"]
    assert [cosine for _, cosine in found] == pytest.approx([1, 1, 2**-0.5, 0])
    assert index.nearest(np.array([0.5, 0.5], np.float32), 1) == found[:1]
    assert len(index.nearest(np.zeros(2, np.float32), 2)) == 2


def test_equally_near_ones_are_in_the_order_of_the_index(tmp_path: Path) -> None:
    names = [f"{i}" for i in range(100)]
    features = np.tile(np.array([[1, 2], [0, 3]], np.float32), (50, 1))
    found = saved(tmp_path / "x.npz", features, names).nearest(features[0], 60)
    assert [path for path, _ in found] == names[::2] + names[1:20:2]


def test_as_a_plain_search_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnn_cli.inference.index.BLOCK", 7)
    rng = np.random.default_rng(1)
    features = rng.standard_normal((100, 16)).astype(np.float32)
    index = saved(tmp_path / "x.npz", features, [f"{i}" for i in range(100)])
    query = rng.standard_normal(16).astype(np.float32)
    cosines = features @ query / np.linalg.norm(features, axis=1) / np.linalg.norm(query)
    found = index.nearest(query, 10)
    assert [path for path, _ in found] == [f"{i}" for i in np.argsort(-cosines)[:10]]
    assert [cosine for _, cosine in found] == pytest.approx(sorted(cosines)[::-1][:10], abs=1e-6)
    assert index.nearest(query, 10, threads=3) == found


def test_large_features(tmp_path: Path) -> None:
    """Their squares overflow in float32; one that is not finite resembles nothing."""
    rng = np.random.default_rng(2)
    features = rng.standard_normal((6, 5)).astype(np.float32)
    names = [*"abcdef"]
    expected = saved(tmp_path / "x.npz", features, names).nearest(features[4], 6)
    for factor in (1e21, 1e30):
        large = (features * factor).astype(np.float32)
        found = saved(tmp_path / "y.npz", large, names).nearest(large[4], 6)
        assert [path for path, _ in found] == [path for path, _ in expected]
        assert [cosine for _, cosine in found] == pytest.approx([c for _, c in expected], abs=1e-5)
    features[0, 0], features[5, 1] = np.inf, np.nan
    index = saved(tmp_path / "z.npz", features, names)
    assert index.nearest(features[4], 3) == [pair for pair in expected if pair[0] in "bcde"][:3]
    assert len(index.nearest(features[4], 6)) == 4


def test_of_no_picture(tmp_path: Path) -> None:
    with (tmp_path / "x.npz").open("wb") as file:
        assert write_index(file, [], META, tmp_path) == 0
    with pytest.raises(DataError) as caught:
        Index.open(tmp_path / "x.npz")
    assert caught.value.line() == f"{tmp_path / 'x.npz'}: must hold at least one image. Got none."


def test_memory_does_not_grow_with_the_pictures(tmp_path: Path) -> None:
    def batches(count: int) -> Iterator[tuple[list[str], Array]]:
        for number in range(count):
            yield [f"{number}"] * 64, np.full((64, 512), number, np.float32)

    def write(count: int) -> None:
        with (tmp_path / "x.npz").open("wb") as file:
            write_index(file, batches(count), META, tmp_path)

    tracemalloc.start()
    try:
        write(400)
        assert tracemalloc.get_traced_memory()[1] < 20e6  # of 52 MB
    finally:
        tracemalloc.stop()


def resaved(content: bytes, compressed: bool, **changed: Array) -> bytes:
    arrays = dict(np.load(io.BytesIO(content), allow_pickle=False)) | changed
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def test_files_that_are_no_index(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    features = np.eye(4, dtype=np.float32)
    saved(path, features)
    content = path.read_bytes()
    path.write_bytes(resaved(content, compressed=False))
    np.testing.assert_array_equal(Index.open(path).features, features)
    rule = f"{path}: must be an index that cnn embed wrote."
    cases = {
        f"{path}: must not be compressed, so that it can be mapped into memory.": resaved(
            content, compressed=True
        ),
        f"{rule} Got features, norms and paths that do not belong together.": resaved(
            content, compressed=False, norms=np.ones(3, np.float32)
        ),
        f"{rule} Got paths or meta of another kind.": resaved(
            content, compressed=False, meta=np.frombuffer(b"[]", np.uint8)
        ),
        f"{path}: must hold features row by row.": resaved(
            content,
            compressed=False,
            features=np.asfortranarray(features * 2 + 1)[:, ::-1].T.copy().T,
        ),
    }
    for line, changed in cases.items():
        path.write_bytes(changed)
        with pytest.raises(DataError) as caught:
            Index.open(path)
        assert caught.value.line() == line
    np.savez(path, a=np.ones(3))
    with pytest.raises(DataError) as caught:
        Index.open(path)
    assert caught.value.line() == f"{rule} Got another .npz file."
    path.write_text("epochs: 3")
    with pytest.raises(DataError) as caught:
        Index.open(path)
    assert caught.value.line() == f"{rule} Got a file that is cut short or of another kind."
    for size in (0, 10, len(content) // 2, len(content) - 10):
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match=r"must be an index that cnn embed wrote\."):
            Index.open(path)
    path.unlink()
    with pytest.raises(DataError, match=r"cannot be read\. Got no such file or directory\."):
        Index.open(path)
