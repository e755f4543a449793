"""Documents that ask for the impossible: one error, before anything is allocated."""

from __future__ import annotations

import copy
import json
import resource
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import write_zip
from cli_program import Outcome
from hardship import Field, at_most, cnn, contents, make_field, weights_of
from mutations import meta_member

from cnn_cli.config import yaml12
from cnn_cli.config.yaml12 import parse_yaml
from cnn_cli.errors import ConfigError
from cnn_cli.runs.checkpoint import load_checkpoint

MODEL = "model: {{layers: [{}, flatten, {{linear: classes}}]}}\n"
TRAIN = "model: {{layers: [{{linear: classes}}]}}\ntrain: {{{}}}\n"
LOTS = 100_000 if sys.platform.startswith("linux") else 100_000_000  # kB, or bytes


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    return make_field(tmp_path_factory.mktemp("field"), train=6, val=2, epochs=2)


@pytest.fixture(scope="module")
def trained(field: Field) -> Path:
    out = field.config.parent / "run"
    assert cnn("train", field.config, "--out", out, "--threads", 1).code == 0
    return out


@contextmanager
def little_memory() -> Iterator[None]:
    """Fail if the process grows by more than a document may take."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < LOTS


def aliases(levels: int) -> str:
    """Return a document in which each level contains the previous one nine times: 9 ** levels
    values if expanded.
    """
    lines = ["a0: &a0 [lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels + 1)]
    return "\n".join([*lines, f"model: {{layers: *a{levels}}}"])


CONFIGS = {
    "aliases": (aliases(20), "is not YAML: more than 100,000 values once aliases are written"),
    "itself": ("model: &a {layers: *a}\n", ""),
    "deep lists": ("model: " + "[" * 20_000, "must be at most 60 levels deep"),
    "deep mappings": ("model: " + "{a: " * 5_000, "must be at most 60 levels deep"),
    "deep layers": (
        MODEL.format("{residual: {layers: [" * 40 + "relu" + "]}}" * 40),
        "must be at most 60 levels deep",
    ),
    "channels": (
        MODEL.format("{conv: {out_channels: 1000000000, kernel_size: 3}}"),
        "more memory than there is",
    ),
    "kernel": (MODEL.format("{conv: {out_channels: 1, kernel_size: 999999999}}"), "kernel"),
    "padding": (
        MODEL.format("{conv: {out_channels: 1, kernel_size: 3, padding: 9999999}}"),
        "more memory than there is",
    ),
    "too long a number": (MODEL.format("{conv: " + "9" * 5000 + "}"), ""),
    "times": (MODEL.format("{repeat: {times: 999999999, layers: [relu]}}"), "times: must be"),
    "times of times": (
        MODEL.format("{repeat: {times: 99999, layers: [{repeat: {times: 99999, layers: []}}]}}"),
        "",
    ),
    "image": (
        MODEL.format("relu") + "data: {image_size: 2000000000}\n",
        "more memory than there is",
    ),
    "flow": (MODEL.format("{conv: {a: " + "{a: " * 20_000), "must be at most 60 levels deep"),
    "nan": (TRAIN.format("optimizer: {lr: .nan}"), "lr: must be"),
    "inf": (TRAIN.format("label_smoothing: .inf"), "label_smoothing: must be"),
    "minus inf": (TRAIN.format("clip_grad_norm: -.inf"), "clip_grad_norm: must be"),
    "nan as a mean": (MODEL.format("relu") + "data: {mean: .nan}\n", "mean: must be"),
    "bytes": ("\x00\x01\x02", "is not YAML"),
}


@pytest.mark.parametrize(("text", "said"), CONFIGS.values(), ids=CONFIGS)
def test_configs(field: Field, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    for command in (["train", "--out", tmp_path / "run"], ["train", "--dry-run"], ["summary"]):
        data = ["--data", field.pictures] if command[0] == "train" else []
        with at_most(10), little_memory():
            outcome = cnn(*command, path, *data)
        if command == ["summary"] and outcome.code == 0:
            continue  # it reports the network's memory, however much is available
        assert (outcome.code, outcome.out) == (3, ""), outcome
        assert outcome.err.startswith(f"cnn: {path}: "), outcome
        assert outcome.err.count("\n") == 1
        assert len(outcome.err) < 500
        assert said in outcome.err or command == ["summary"], outcome
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.yaml"]


def test_too_many_values_are_noticed_while_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not afterwards, which would take a minute for a megabyte."""
    monkeypatch.setattr(yaml12, "MAX_VALUES", 50)
    assert parse_yaml("[" + "1, " * 49 + "]", "x") == [1] * 49
    with pytest.raises(ConfigError) as caught:
        parse_yaml("[" + "1, " * 2000 + "@", "x")  # the rest is never parsed
    assert str(caught.value) == "x: is not YAML: more than 50 values."


def test_a_batch_is_no_larger_than_the_data(field: Field) -> None:
    """The plan is for actual batch sizes, even if two thousand million are requested."""
    plans = []
    for size in (18, 2**31 - 1):
        with at_most(10):
            outcome = cnn("train", field.config, "--dry-run", "--json", "-b", size)
        assert outcome.code == 0, outcome
        plans.append(json.loads(outcome.out))
    assert plans[0] == plans[1]


def widen(meta: dict[str, Any], out_channels: int) -> None:
    """Give the first convolution `out_channels`, in the config and in the network."""
    config = meta["config"]["model"]["layers"][0]["conv"]
    for arguments in (config, meta["network"]["nodes"][0]["arguments"]):
        arguments["out_channels"] = out_channels


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def wide(meta: dict[str, Any]) -> None:
    """Two convolutions with 2³¹ - 1 channels."""
    widen(meta, 2**31 - 1)
    second = {"out_channels": 2**31 - 1, "kernel_size": 3}
    meta["config"]["model"]["layers"].insert(1, {"conv": second})
    nodes = meta["network"]["nodes"]
    for node in nodes[1:]:
        node["inputs"] = [tensor + 1 for tensor in node["inputs"]]
    nodes.insert(1, nodes[0] | {"name": "second", "inputs": [0]})


# The change of `meta`, and the errors of evaluating and of resuming.
METAS: dict[str, tuple[Callable[[dict[str, Any]], object], str | None, str | None]] = {
    "channels": (lambda meta: widen(meta, 10**9), "more memory", "another"),
    "products beyond 64 bits": (wide, "more memory", "another"),
    "image": (
        lambda meta: meta["preprocess"].update(height=2**31 - 1, width=2**31 - 1),
        "",
        None,
    ),
    "deep state": (lambda meta: meta["state"].update(log=[{"a": deep(500)}]), "levels", "levels"),
    "threads": (lambda meta: meta.update(threads=10**9), "threads", "threads"),
    "no threads": (lambda meta: meta.update(threads=0), "threads", "threads"),
    "bad files": (lambda meta: meta.update(bad_files=5), "bad_files", "bad_files"),
    "negative": (lambda meta: meta["state"].update(epoch=-1), None, "continue from"),
    "endless": (lambda meta: meta["state"].update(batch=2**64), None, "continue from"),
    "not a number": (lambda meta: meta["state"]["sums"].update(loss=None), None, "continue from"),
    "rows": (lambda meta: meta["state"].update(rows=[{"epoch": 1}]), None, "continue from"),
    "other rows": (lambda meta: meta["state"]["rows"][0].update(lr="high"), None, "continue from"),
    "no state": (lambda meta: meta.pop("state"), None, "continue from"),
    "data": (lambda meta: meta.update(data={"classes": 5}), None, "classes"),
}


@pytest.mark.parametrize("name", METAS)
def test_checkpoints(field: Field, trained: Path, tmp_path: Path, name: str) -> None:
    change, at_evaluation, at_resuming = METAS[name]
    with zipfile.ZipFile(trained / "last.npz") as archive:
        members = {each.filename: archive.read(each) for each in archive.infolist()}
    meta = copy.deepcopy(load_checkpoint(trained / "last.npz").meta)
    change(meta)
    path = tmp_path / "last.npz"
    write_zip(path, members | {"meta.npy": meta_member(meta)})
    before = contents(tmp_path)
    lines = {
        at_evaluation: ("predict", field.pictures / "val/dark/0.png", "--ckpt", path),
        at_resuming: ("train", field.config, "--out", tmp_path, "--resume", "--epochs", 3),
    }
    for said, line in lines.items():
        if said is None:
            continue
        with at_most(10), little_memory():
            outcome = cnn(*line)
        assert outcome.code in (3, 4) if line[0] == "train" else outcome.code == 4, outcome
        assert outcome.err.count("\n") == 1, outcome
        assert said in outcome.err
    after = contents(tmp_path)
    after.pop(".lock", None)
    assert after == before or at_resuming is None


@pytest.mark.parametrize("group", ["model", "optimizer"])
@pytest.mark.parametrize("kind", ["float16", "int64", "shape", "nan", "absent", "extra"])
def test_arrays_that_are_others(
    field: Field, trained: Path, tmp_path: Path, group: str, kind: str
) -> None:
    """Resuming is refused or, if nothing is lost (float16), works."""
    checkpoint = load_checkpoint(trained / "last.npz")
    arrays = {
        f"{g}/{name}": array for g, members in checkpoint.groups.items() for name, array in
        members.items()
    }  # fmt: skip
    name = next(name for name in sorted(arrays) if name.startswith(group) and arrays[name].ndim > 1)
    array = arrays[name]
    match kind:
        case "absent":
            del arrays[name]
        case "extra":
            arrays[f"{group}/more"] = array
        case "shape":
            arrays[name] = array[..., None]
        case "nan":
            arrays[name] = np.full_like(array, np.nan)
        case _:
            arrays[name] = array.astype(kind)
    with zipfile.ZipFile(trained / "last.npz") as archive:
        arrays["meta"] = np.load(archive.open("meta.npy"))
    np.savez(tmp_path / "last.npz", **arrays)  # type: ignore[arg-type]  # as in checkpoint.py
    before = weights_of(tmp_path) if (group, kind) != ("model", "nan") else ""
    outcome = cnn("train", field.config, "--out", tmp_path, "--resume", "--epochs", 3, "--quiet")
    if kind == "float16" and outcome.code == 0:
        return
    if (group, kind) == ("optimizer", "nan"):
        assert outcome.code == 5, outcome
    else:
        assert outcome.code == 4, outcome
    assert outcome.err.startswith("cnn: ")
    assert outcome.err.count("\n") == 1
    assert not before or weights_of(tmp_path) == before


def test_every_truncation_of_a_whole_run(field: Field, trained: Path, tmp_path: Path) -> None:
    """By the commands: lengths all over the file, and near its end."""
    content = (trained / "last.npz").read_bytes()
    path = tmp_path / "last.npz"
    sizes = {*range(0, len(content), len(content) // 30), *range(len(content) - 9, len(content))}
    picture = field.pictures / "val/dark/0.png"
    for size in sorted(sizes):
        path.write_bytes(content[:size])
        line = ("train", field.config, "--out", tmp_path, "--resume", "--quiet")
        for outcome in (cnn("predict", picture, "--ckpt", path), cnn(*line)):
            assert outcome.code == 4, (size, outcome)
            assert outcome.err.startswith(f"cnn: {path}: "), (size, outcome)
            assert outcome.err.count("\n") == 1
        assert path.read_bytes() == content[:size]


def test_a_newer_format(field: Field, trained: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(trained / "last.npz") as archive:
        members = {each.filename: archive.read(each) for each in archive.infolist()}
    meta = load_checkpoint(trained / "last.npz").meta | {"format_version": 99, "threads": "many"}
    path = tmp_path / "last.npz"
    write_zip(path, members | {"meta.npy": meta_member(meta)})
    outcome = cnn("eval", field.pictures, "--ckpt", path)
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err.startswith(f"cnn: {path}: was written by a newer version of cnn")


def test_overrides_are_documents_too(field: Field) -> None:
    for override in ("model.layers=" + "[" * 5000, "train.seed=.inf", "a" * 100_000 + "=1"):
        outcome = cnn("train", field.config, override, "--dry-run")
        assert (outcome.code, outcome.out) == (3, ""), override[:40]
        assert outcome.err.count("\n") == 1
        assert isinstance(outcome, Outcome)
