"""Random images, checkpoints and configs: documented exit codes, one line per error, unchanged
inputs, no hangs.
"""

from __future__ import annotations

import io
import json
import shutil
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from checkpoints import npy, write_zip
from cli_program import Outcome
from data_samples import encoded, noise
from hardship import Field, assert_well_said, at_most, cnn, contents, make_field
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import KINDS, Edit, changed, edited, meta_member, random_edits, spoiled_array
from PIL import Image, features

from cnn_cli.runs.checkpoint import load_checkpoint

LONGEST = 10.0  # seconds for one case
LIGHT = 100_000_000  # bytes: a network that can be trained for a second
CASES = 2000

# Deterministic: hypothesis draws the same cases every time.
bounded = settings(max_examples=30)
number = st.integers(0, 10**6)
edits = st.lists(
    st.builds(
        Edit,
        st.sampled_from(KINDS),
        st.floats(0, 1, exclude_max=True),
        st.integers(1, 64),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)


@dataclass(frozen=True, slots=True)
class Victim:
    """The inputs to mutate.

    Attributes:
        field: images and config.
        run: a run trained on them.
        place: a folder for mutated files.
        images: file name and bytes, of many kinds.
        members: members of the run's `last.npz`.
        meta, document: its metadata, and the config.
    """

    field: Field
    run: Path
    place: Path
    images: list[tuple[str, bytes]]
    members: dict[str, bytes]
    meta: dict[str, Any]
    document: dict[str, Any]


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    field = make_field(tmp_path_factory.mktemp("field"), train=6, val=2, epochs=2)
    run = field.config.parent / "run"
    assert cnn("train", field.config, "--out", run, "--threads", 1).code == 0
    with zipfile.ZipFile(run / "last.npz") as archive:
        members = {each.filename: archive.read(each) for each in archive.infolist()}
    return Victim(
        field,
        run,
        tmp_path_factory.mktemp("mutants"),
        list(images()),
        members,
        load_checkpoint(run / "last.npz").meta,
        yaml.safe_load(field.config.read_text()),
    )


def images() -> Iterator[tuple[str, bytes]]:
    """Yield a small image of every kind that Pillow writes here."""
    rgb, gray = Image.fromarray(noise(24, 31, 3)), Image.fromarray(noise(24, 31, 1))
    palette = rgb.convert("P")
    kinds: list[tuple[str, str, Image.Image, dict[str, object]]] = [
        ("png", "PNG", rgb, {}),
        ("png", "PNG", palette, {"transparency": 3}),
        ("png", "PNG", Image.fromarray(noise(9, 9, 1).astype(np.uint16) * 257), {}),
        ("jpg", "JPEG", rgb, {}),
        ("jpg", "JPEG", gray, {"progressive": True}),
        ("jpg", "JPEG", rgb.convert("CMYK"), {}),
        ("gif", "GIF", palette, {"save_all": True, "append_images": [gray.convert("P")]}),
        ("bmp", "BMP", rgb, {}),
        ("tif", "TIFF", rgb, {}),
        ("tif", "TIFF", gray, {"compression": "tiff_adobe_deflate"}),
        ("ppm", "PPM", rgb, {}),
        ("ico", "ICO", rgb, {}),
        ("tga", "TGA", rgb, {}),
        ("pcx", "PCX", gray, {}),
        ("sgi", "SGI", rgb, {}),
    ]
    if features.check("webp"):
        kinds += [("webp", "WEBP", rgb, {}), ("webp", "WEBP", rgb, {"lossless": True})]
    if features.check("jpg_2000"):
        kinds.append(("jp2", "JPEG2000", rgb, {}))
    for extension, kind, image, options in kinds:
        yield extension, encoded(image, kind, **options)


def run_command(*arguments: object) -> Outcome:
    """Run a command without NumPy's warnings, as the program does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = cnn(*arguments)
    assert_well_said(outcome)
    return outcome


def try_image(victim: Victim, which: int, changes: list[Edit]) -> list[int]:
    """Predict it alone, and evaluate it among others."""
    extension, content = victim.images[which % len(victim.images)]
    path = victim.place / f"x.{extension}"
    path.write_bytes(edited(content, changes))
    before = path.read_bytes()
    outcome = run_command("predict", path, "--ckpt", victim.run, "--json")
    assert outcome.code in (0, 4), outcome
    (row,) = json.loads(outcome.out)
    assert ("error" in row) == (outcome.code == 4)
    assert outcome.err.count("\n") == (outcome.code == 4), outcome
    among_others = victim.field.pictures / "val/dark" / path.name
    path.rename(among_others)
    try:
        again = run_command("eval", victim.field.pictures, "--ckpt", victim.run)
        assert again.code == 0
        assert again.err.count("\n") == (outcome.code == 4)
        assert among_others.read_bytes() == before
    finally:
        among_others.unlink()
    return [outcome.code, again.code]


def try_checkpoint(victim: Victim, path: Path) -> list[int]:
    """Run every command that reads a checkpoint."""
    before = path.read_bytes()
    picture, out = victim.field.pictures / "val/dark/0.png", path.parent
    codes = []
    for line in (
        ("predict", picture, "--ckpt", path, "--json"),
        ("eval", "--ckpt", path),
        ("train", victim.field.config, "--out", out / "new", "--weights", path, "--dry-run"),
        ("train", victim.field.config, "--out", out, "--resume", "--epochs=2", "--quiet"),
    ):
        outcome = run_command(*line)
        # 2 if the edit removed `data.root`: eval then requires DIR.
        assert outcome.code in (0, 2, 3, 4, 5), outcome
        assert outcome.code == 0 or outcome.err.count("\n") == 1, outcome
        codes.append(outcome.code)
        if line[0] != "train" or outcome.code != 0:
            assert path.read_bytes() == before, line
    return codes


def mutated_checkpoint(victim: Victim, kind: int, numbers: list[int], changes: list[Edit]) -> Path:
    """Mutate its bytes, its metadata with a valid checksum, or an array."""
    folder = victim.place / "ckpt"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path, members = folder / "last.npz", dict(victim.members)
    match kind % 3:
        case 0:
            path.write_bytes(edited((victim.run / "last.npz").read_bytes(), changes))
            return path
        case 1:
            meta = victim.meta
            for where, what in zip(numbers[::2], numbers[1::2], strict=False):
                meta = changed(meta, where, what)
            members["meta.npy"] = meta_member(meta)
        case _:
            name = sorted(members)[numbers[0] % len(members)]
            array = np.load(io.BytesIO(members[name]))
            members[name] = npy(spoiled_array(array, numbers[1]))
    write_zip(path, members)
    return path


def try_config(victim: Victim, text: bytes) -> list[int]:
    """Plan it and summarize it; train it briefly if it is small."""
    path = victim.field.config.parent / "mutant.yaml"
    path.write_bytes(text)
    plan = run_command("train", path, "--dry-run", "--json")
    codes = [plan.code, run_command("summary", path).code]
    if plan.code == 0 and json.loads(plan.out)["memory_bytes"] < LIGHT:
        line = ("train", path, "--out", victim.place / "new", "--overwrite", "--quiet")
        codes.append(run_command(*line, "--time-limit", "0.2s", "--epochs", 1).code)
    assert path.read_bytes() == text
    path.unlink()
    return codes


def as_yaml(document: Any) -> bytes:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=False).encode()


@given(number, edits)
@bounded
def test_images(victim: Victim, which: int, changes: list[Edit]) -> None:
    with at_most(LONGEST):
        try_image(victim, which, changes)


@given(number, st.lists(number, min_size=2, max_size=4), edits)
@bounded
def test_checkpoints(victim: Victim, kind: int, numbers: list[int], changes: list[Edit]) -> None:
    path = mutated_checkpoint(victim, kind, numbers, changes)
    with at_most(LONGEST):
        try_checkpoint(victim, path)


@given(number, number)
@bounded
def test_configs(victim: Victim, where: int, what: int) -> None:
    with at_most(LONGEST):
        try_config(victim, as_yaml(changed(victim.document, where, what)))


@given(edits)
@bounded
def test_configs_as_text(victim: Victim, changes: list[Edit]) -> None:
    with at_most(LONGEST):
        try_config(victim, edited(as_yaml(victim.document), changes))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(number, json_values)
@bounded
def test_configs_with_any_value(victim: Victim, where: int, value: Any) -> None:
    """Written as YAML; values that cannot be written are skipped."""
    with at_most(LONGEST):
        try_config(victim, as_yaml(changed(victim.document, where, 0, value)))


@pytest.mark.soak
def test_two_thousand_mutants(victim: Victim) -> None:
    rng = np.random.default_rng(0)
    before = contents(victim.field.pictures) | contents(victim.run)
    codes: Counter[tuple[str, int]] = Counter()
    slowest = {"image": 0.0, "checkpoint": 0.0, "config": 0.0}
    for case in range(CASES):
        kind = list(slowest)[case % 3]
        begin = time.monotonic()
        numbers = [int(each) for each in rng.integers(0, 10**6, 2 * int(rng.integers(1, 3)))]
        changes = random_edits(rng)
        with at_most(LONGEST):
            if kind == "image":
                found = try_image(victim, case // 3, changes)
            elif kind == "checkpoint":
                mutant = mutated_checkpoint(victim, case // 3, numbers, changes)
                found = try_checkpoint(victim, mutant)
            else:
                document = victim.document
                for where, what in zip(numbers[::2], numbers[1::2], strict=True):
                    document = changed(document, where, what)
                text = as_yaml(document)
                found = try_config(victim, edited(text, changes) if case % 2 else text)
        slowest[kind] = max(slowest[kind], time.monotonic() - begin)
        codes.update((kind, code) for code in found)
    assert contents(victim.field.pictures) | contents(victim.run) == before
    print(f"{CASES} mutants; exit codes {dict(sorted(codes.items()))}; slowest {slowest}")
