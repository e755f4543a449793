"""The split depends on what is in the files and on nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from data_samples import make_folders, save_grey

from cnn_cli.data.dataset import open_dataset
from cnn_cli.data.folder import walk_images
from cnn_cli.data.split import content_fraction, held_back


def held_contents(root: Path, share: float) -> set[bytes]:
    paths = list(walk_images(str(root)))
    held = held_back(paths, share)
    return {Path(path).read_bytes() for path, val in zip(paths, held, strict=True) if val}


def test_fraction_is_the_blake2b_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 3_000_000)
    digest = hashlib.blake2b(b"x" * 3_000_000, digest_size=8).digest()
    assert content_fraction(str(path)) == int.from_bytes(digest, "big") / 2**64


def test_share_is_met_on_average(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{i}") for i in range(1000)]
    for i, path in enumerate(paths):
        Path(path).write_bytes(i.to_bytes(2, "big"))
    fractions = np.array([content_fraction(path) for path in paths])
    np.testing.assert_array_equal(held_back(paths, 0.1), fractions < 0.1)
    assert 70 <= held_back(paths, 0.1).sum() <= 130
    assert 450 <= held_back(paths, 0.5).sum() <= 550
    assert held_back(paths, 0).sum() == 0
    assert held_back(paths, 1).sum() == 1000


def test_stable_under_renaming_moving_and_adding(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "set", {"a": 20, "b": 20})
    before = held_contents(root, 0.3)
    assert 0 < len(before) < 40
    for i, path in enumerate(sorted((root / "a").iterdir())):
        path.rename(root / "a" / f"renamed {40 - i}.png")
    root = root.rename(tmp_path / "moved")
    save_grey(root / "a" / "0000.png", seed=99_999)
    after = held_contents(root, 0.3)
    added = (root / "a" / "0000.png").read_bytes()
    assert after - {added} == before


def test_a_larger_share_keeps_what_a_smaller_one_held(tmp_path: Path) -> None:
    root = make_folders(tmp_path, {"a": 40})
    assert held_contents(root, 0.1) <= held_contents(root, 0.2) <= held_contents(root, 0.6)


def test_copies_fall_on_the_same_side(tmp_path: Path) -> None:
    root = make_folders(tmp_path, {"a": 20, "b": 3})
    for path in list((root / "a").iterdir()):
        (root / "b" / f"copy-{path.name}").write_bytes(path.read_bytes())
    data = open_dataset(root, None, 0.3)
    assert data.val is not None
    train = {Path(path).read_bytes() for path in data.train.paths}
    val = {Path(path).read_bytes() for path in data.val.paths}
    assert len(data.val) >= 2
    assert not train & val


def test_unreadable_file_stays_in_training(tmp_path: Path) -> None:
    assert content_fraction(str(tmp_path / "gone")) is None
    assert content_fraction(str(tmp_path)) is None
    assert held_back([str(tmp_path / "gone")], 1).tolist() == [False]


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_no_image_is_lost_or_doubled(tmp_path: Path, share: float) -> None:
    data = open_dataset(make_folders(tmp_path, {"a": 12, "b": 12}), None, share)
    held = data.val.paths if data.val else []
    assert sorted(data.train.paths + held) == sorted(str(p) for p in tmp_path.rglob("*.png"))
    assert (data.val is None) == (share == 0)
    for part in (data.train, data.val):
        if part is not None:
            names = [Path(path).parent.name for path in part.paths]
            assert names == [data.classes[label] for label in part.labels]
            assert part.labels.dtype == np.int64
