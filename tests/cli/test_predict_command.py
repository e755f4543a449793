"""`cnn predict`: sources, formats, unreadable images and streams."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from cli_program import COMMAND, Inside, process
from patience import PATIENCE

from cnn_cli.data import decode_ahead
from cnn_cli.inference.predictor import Predictor
from cnn_cli.nn import backends as backend
from cnn_cli.nn.kernels.interface import Kernels

MISSING = "cannot be read. Got no such file or directory."


@pytest.fixture(autouse=True)
def _in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def paths(text: str) -> list[str]:
    """Return the first column of the text format."""
    return [line.split("\t")[0] for line in text.splitlines()]


def test_text(cnn: Inside, trained: Path) -> None:
    outcome = cnn("predict", "./photos/test/bright/0.png", "--ckpt", trained)
    assert (outcome.code, outcome.err) == (0, "")
    path, label, prob = outcome.out.removesuffix("\n").split("\t")
    assert path == "./photos/test/bright/0.png"
    assert label in ("bright", "dark", "grey")
    assert len(prob.partition(".")[2]) == 6
    assert 1 / 3 <= float(prob) <= 1


def test_sources_in_their_order(cnn: Inside, trained: Path) -> None:
    line = "photos/test/grey photos/val/dark/*2.png photos/test/bright/1.png"
    outcome = cnn("predict", *line.split(), "--ckpt", trained, "-b", 2, "--threads", 2)
    assert outcome.code == 0
    assert paths(outcome.out) == [
        "photos/test/grey/0.png",
        "photos/test/grey/1.png",
        "photos/val/dark/2.png",
        "photos/test/bright/1.png",
    ]


def test_all_formats_say_the_same(cnn: Inside, trained: Path) -> None:
    plain = ["predict", "photos/test", "gone.png", "--ckpt", trained]
    line = [*plain, "--topk", 2]
    outcomes = {name: cnn(*line, "--format", name) for name in ("json", "jsonl", "csv")}
    outcomes["text"] = cnn(*plain, "--format", "text")
    assert {outcome.code for outcome in outcomes.values()} == {4}
    assert {outcome.err for outcome in outcomes.values()} == {f"cnn: gone.png: {MISSING}\n"}
    objects = json.loads(outcomes["json"].out)
    assert objects == [json.loads(line) for line in outcomes["jsonl"].out.splitlines()]
    assert objects[-1] == {
        "path": "gone.png",
        "error": "cannot be read: no such file or directory",
    }
    first = objects[0]
    assert list(first) == ["path", "label", "prob", "topk"]
    assert first["topk"][0] == {"label": first["label"], "prob": first["prob"]}
    assert [len(one["topk"]) for one in objects[:-1]] == [2] * 6
    rows = list(csv.reader(io.StringIO(outcomes["csv"].out)))
    assert rows[0] == [
        *("path", "label", "prob", "error", "label_1", "prob_1", "label_2", "prob_2")
    ]
    assert rows[-1] == ["gone.png", "", "", "cannot be read: no such file or directory", *[""] * 4]
    said = [[one["path"], one["label"], f"{one['prob']:.6f}"] for one in objects[:-1]]
    assert [row[:3] for row in rows[1:-1]] == said
    assert [line.split("\t") for line in outcomes["text"].out.splitlines()] == said
    assert cnn(*line, "--json").out == outcomes["json"].out


@pytest.mark.parametrize("more", ["", "--format text", "--probs", "--sort-into sorted"])
def test_text_shows_one_class_only(cnn: Inside, trained: Path, more: str) -> None:
    outcome = cnn("predict", "photos", "--ckpt", trained, "--topk", 2, *more.split())
    message = "cnn: --topk: goes with --format json, jsonl or csv. Got text.\n"
    assert (outcome.code, outcome.out, outcome.err) == (2, "", message)


def test_topk_lists_at_most_all_classes(cnn: Inside, trained: Path) -> None:
    outcome = cnn("predict", "photos/test/dark/0.png", "--ckpt", trained, "--json")
    (found,) = json.loads(outcome.out)
    probabilities = [one["prob"] for one in found["topk"]]
    assert len(probabilities) == 3
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-6)


def test_no_label_below_min_prob(cnn: Inside, trained: Path) -> None:
    line = ["predict", "photos/test/dark/0.png", "--ckpt", trained, "--min-prob", 1]
    path, label, prob = cnn(*line).out.rstrip("\n").split("\t")
    assert (path, label) == ("photos/test/dark/0.png", "")
    (found,) = json.loads(cnn(*line, "--json").out)
    assert found["label"] is None
    assert f"{found['prob']:.6f}" == prob
    assert cnn(*line, "--format", "csv").out.splitlines()[1] == f"{path},,{prob},"
    assert cnn(*line[:-1], found["prob"] - 1e-6).out.split("\t")[1] == found["topk"][0]["label"]


def test_an_image_on_stdin(cnn: Inside, trained: Path) -> None:
    source = Path("photos/test/grey/0.png")
    piped = cnn("predict", "-", "--ckpt", trained, stdin=source.read_bytes())
    named = cnn("predict", source, "--ckpt", trained)
    assert (piped.code, named.code) == (0, 0)
    assert piped.out == named.out.replace(str(source), "-")
    outcome = cnn("predict", "-", "--ckpt", trained, stdin=b"no image")
    assert (outcome.code, outcome.err) == (4, "cnn: -: not an image Pillow can read.\n")


def test_a_list_of_paths(cnn: Inside, trained: Path, tmp_path: Path) -> None:
    text = b"photos/test/dark/1.png\n\nphotos/test/grey/0.png\r\nphotos/test/dark/0.png"
    expected = ["photos/test/dark/1.png", "photos/test/grey/0.png", "photos/test/dark/0.png"]
    (tmp_path / "list").write_bytes(text)
    from_file = cnn("predict", "--from-file", tmp_path / "list", "--ckpt", trained)
    assert (from_file.code, paths(from_file.out)) == (0, expected)
    piped = cnn("predict", "--from-file", "-", "--ckpt", trained, stdin=text)
    assert piped.out == from_file.out
    both = cnn("predict", expected[0], "--from-file", "-", "--ckpt", trained, stdin=text)
    assert paths(both.out) == [expected[0], *expected]


def test_a_list_with_nul_ends_holds_names_with_newlines(
    cnn: Inside, trained: Path, picture: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "two\nlines\t.png"
    shutil.copy(picture, odd)
    text = os.fsencode(odd) + b"\0" + os.fsencode(picture) + b"\0"
    line = ["predict", "--from-file", "-", "-0", "--ckpt", trained]
    outcome = cnn(*line, stdin=text)
    assert paths(outcome.out) == [f"{tmp_path}/two\\nlines\\t.png", str(picture)]
    outcome = cnn(*line, "--format", "jsonl", stdin=text)
    assert json.loads(outcome.out.splitlines()[0])["path"] == str(odd)
    outcome = cnn(*line, "--format", "csv", stdin=text)
    assert list(csv.reader(io.StringIO(outcome.out, newline="")))[1][0] == str(odd)


@pytest.mark.parametrize(("format_name", "out"), [("text", ""), ("json", "[]\n"), ("jsonl", "")])
def test_an_empty_list(cnn: Inside, trained: Path, format_name: str, out: str) -> None:
    outcome = cnn("predict", "--from-file", "-", "--ckpt", trained, "--format", format_name)
    assert (outcome.code, outcome.out, outcome.err) == (0, out, "")


def test_lists_that_cannot_be_read(cnn: Inside, trained: Path) -> None:
    outcome = cnn("predict", "--from-file", "gone", "--ckpt", trained, "--json")
    assert (outcome.code, outcome.out, outcome.err) == (4, "", f"cnn: gone: {MISSING}\n")
    outcome = cnn("predict", "--from-file", "photos", "--ckpt", trained)
    message = "cnn: photos: cannot be read. Got a folder.\n"
    assert (outcome.code, outcome.err) == (4, message)


def test_every_bad_source_is_named_and_the_others_done(
    cnn: Inside, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    line = [tmp_path / "bad.png", "photos/test/grey", "no*.png", tmp_path / "empty"]
    outcome = cnn("predict", *line, "--ckpt", trained)
    assert outcome.code == 4
    assert paths(outcome.out) == ["photos/test/grey/0.png", "photos/test/grey/1.png"]
    assert outcome.err == (
        f"cnn: {tmp_path}/bad.png: not an image Pillow can read.\n"
        "cnn: no*.png: matches no file.\n"
        f"cnn: {tmp_path}/empty: holds no image.\n"
    )


def test_names_with_a_leading_dash(
    cnn: Inside, trained: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(picture, tmp_path / "-x.png")
    monkeypatch.chdir(tmp_path)
    outcome = cnn("predict", "--ckpt", trained, "--", "-x.png")
    assert (outcome.code, paths(outcome.out)) == (0, ["-x.png"])
    outcome = cnn("predict", "--ckpt", trained, "-x.png")
    assert (outcome.code, outcome.err) == (2, "cnn: -x: no such option of predict.\n")


def test_names_that_are_no_utf8(trained: Path, picture: Path, tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    shutil.copy(picture, name)
    shown = f"{tmp_path}/caf\\udce9.png"
    outcome = process("predict", name, "gone\udcff.png", "--ckpt", trained)
    assert outcome.out.startswith(f"{shown}\t")
    assert (outcome.code, outcome.err) == (4, f"cnn: gone\\udcff.png: {MISSING}\n")
    outcome = process("predict", name, "--ckpt", trained, "--json")
    assert f'"path": "{shown}"' in outcome.out
    assert json.loads(outcome.out)[0]["path"] == name
    output = tmp_path / "out.csv"
    outcome = process("predict", name, "--ckpt", trained, "--format", "csv", "--output", output)
    assert (outcome.code, outcome.out) == (0, "")
    assert output.read_text().splitlines()[1].startswith(f"{shown},")


def test_output_replaces_a_file(cnn: Inside, trained: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("old")
    line = ["predict", "photos/test", "gone.png", "--ckpt", trained, "--format", "jsonl"]
    outcome = cnn(*line, "--output", output)
    assert (outcome.code, outcome.out) == (4, "")
    assert output.read_text() == cnn(*line).out
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize(("place", "got"), [("no/out", "no such folder"), (".", "a folder")])
def test_output_that_cannot_be_written(
    cnn: Inside, trained: Path, tmp_path: Path, place: str, got: str
) -> None:
    output = tmp_path / place
    outcome = cnn("predict", "photos", "--ckpt", trained, "--output", output)
    message = f"cnn: {output}: cannot be written. Got {got}.\n"
    assert (outcome.code, outcome.out, outcome.err) == (4, "", message)


def test_images_are_taken_as_they_are_needed(
    cnn: Inside, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0
    most = 0
    decoded = decode_ahead.decode_live
    predicted = Predictor.predictions

    def counting(*arguments: object) -> object:
        nonlocal taken
        for image in decoded(*arguments):  # type: ignore[arg-type]  # handed through
            taken += 1
            yield image

    def watching(predictor: object, batch: list[object], *rest: object) -> object:
        nonlocal taken, most
        most = max(most, taken)
        taken = 0
        return predicted(predictor, batch, *rest)  # type: ignore[arg-type]  # handed through

    monkeypatch.setattr(decode_ahead, "decode_live", counting)
    monkeypatch.setattr(Predictor, "predictions", watching)
    outcome = cnn("predict", "photos", "--ckpt", trained, "-b", 4, "--json")
    assert len(json.loads(outcome.out)) == 42
    assert most == 4


def start(*arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, "predict", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_sigterm_ends_it_and_what_was_done_is_out(trained: Path, picture: Path) -> None:
    line = ["--from-file", "-", "--ckpt", trained, "-b", 1, "--threads", 1]
    with start(*line) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(os.fsencode(picture) + b"\n")
        running.stdin.write((os.fsencode(picture) + b"\n") * 20)
        running.stdin.flush()
        assert running.stdout.readline().startswith(os.fsencode(picture))
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=PATIENCE) == 143
        assert running.stderr is not None
        assert running.stderr.read() == b""


def test_an_interrupted_output_leaves_nothing(trained: Path, tmp_path: Path) -> None:
    line = ["--from-file", "-", "--ckpt", trained, "--output", tmp_path / "out.json"]
    with start(*line) as running:
        end = time.monotonic() + PATIENCE
        while not list(tmp_path.iterdir()):
            assert time.monotonic() < end
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=PATIENCE) == 130
        assert running.stderr is not None
        assert running.stderr.read() == b""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
def test_backends_agree_and_few_images_are_left_to_numpy(
    cnn: Inside, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["predict", "photos", "--ckpt", trained, "--json"]
    probabilities = {}
    for name in ("numpy", "fast"):
        outcome = cnn(*line, "--backend", name)
        assert outcome.code == 0
        probabilities[name] = [one["prob"] for one in json.loads(outcome.out)]
    assert probabilities["fast"] == pytest.approx(probabilities["numpy"], abs=1e-5)
    monkeypatch.setattr(backend, "load_backend", lambda name, **_: Kernels(f"asked for {name}"))
    assert cnn(*line).err == "cnn: asked for numpy\n"
    assert cnn(*line, "--backend", "fast").err == "cnn: asked for fast\n"
