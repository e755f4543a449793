"""`cnn sweep`: folder, output, and resuming after any stop."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from cli_program import COMMAND, Inside, Outcome, csv_rows, kill_as_each_appears, process
from hardship import assert_same_run, contents, metrics_of
from mpiexec import mpiexec, needs_mpi, together

from cnn_cli.config import load_config, plain_config
from cnn_cli.runs.lock import RunLock

SPACE = ("train.optimizer.lr=1e-4..1.0", "model.layers.0.conv.out_channels=2..5")
LINE = ("train.epochs=3", *SPACE, "--trials", 4, "--threads", 1, "--backend", "numpy")
KEYS = ["train.optimizer.lr", "model.layers.0.conv.out_channels"]


@pytest.fixture(scope="session")
def swept(project: Path) -> Path:
    """The folder of an uninterrupted sweep; read-only."""
    outcome = process("sweep", "tiny.yaml", *LINE, "--out", "swept", "--quiet", cwd=project)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    return project / "swept"


def rows_of(folder: Path) -> list[dict[str, str]]:
    return csv_rows(folder / "sweep.csv")


def assert_same_sweep(one: Path, other: Path) -> None:
    """Assert equal trials bit for bit, equal tables and an equal best trial."""
    names = sorted(path.name for path in one.iterdir() if path.name != ".lock")
    assert names == sorted(path.name for path in other.iterdir() if path.name != ".lock")
    for path in one.glob("trial-*"):
        assert_same_run(path, other / path.name)
    for name in ("sweep.csv", "best.yaml", "sweep.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_the_folder(swept: Path, project: Path) -> None:
    names = sorted(path.name for path in swept.iterdir() if path.name != ".lock")
    trials = [f"trial-{number}" for number in (1, 2, 3, 4)]
    assert names == ["best.yaml", "sweep.csv", "sweep.json", *trials]
    rows = rows_of(swept)
    of_trials = ["trial", "status", "epochs", "best_epoch", "val_top1", "val_loss"]
    assert list(rows[0]) == [*of_trials, *KEYS]
    assert [row["trial"] for row in rows] == ["1", "2", "3", "4"]
    assert {row["epochs"] for row in rows} == {"1", "3"}
    # The first trial has the config's own values.
    assert [rows[0][key] for key in KEYS] == ["0.05", "4"]
    for row in rows:
        assert 1e-4 <= float(row[KEYS[0]]) <= 1
        assert row[KEYS[1]] in ("2", "3", "4", "5")
        config = load_config(swept / f"trial-{row['trial']}/config.yaml")
        assert config.train.optimizer.lr == float(row[KEYS[0]])
        assert config.train.epochs == 3
    assert {row["status"] for row in rows} == {"finished", "stopped"}


def test_a_trial_is_the_run_that_its_config_alone_gives(
    cnn: Inside, swept: Path, here: Path
) -> None:
    """Rungs are epochs of one schedule, and promoted trials are resumed."""
    finished = next(row["trial"] for row in rows_of(swept) if row["status"] == "finished")
    config = swept / f"trial-{finished}/config.yaml"
    assert cnn("train", config, "--out", "alone", "--threads", 1, "--quiet").code == 0
    assert_same_run(here / "alone", swept / f"trial-{finished}")


def test_trials_are_compared_by_the_epoch_that_is_kept(
    cnn: Inside, project: Path, here: Path
) -> None:
    line = ("train.epochs=3", "train.optimizer.lr=0.3,0.4,0.5", "--trials", 3, "--quiet")
    keys = ("train.keep=last", "train.scheduler.type=constant", "train.monitor=loss")
    assert cnn("sweep", project / "tiny.yaml", *line, *keys, "--out", "last").code == 0
    rows = rows_of(here / "last")
    assert [row["best_epoch"] for row in rows] == [row["epochs"] for row in rows]
    for row in rows:
        kept = metrics_of(here / f"last/trial-{row['trial']}")[int(row["epochs"]) - 1]
        assert row["val_loss"] == kept["val_loss"]


def test_the_best_config_trains(cnn: Inside, swept: Path, here: Path) -> None:
    rows = [row for row in rows_of(swept) if row["status"] == "finished"]
    best = max(rows, key=lambda row: (float(row["val_top1"]), -float(row["val_loss"])))
    text = (swept / "best.yaml").read_text()
    assert text.startswith(f"# trial {best['trial']}: top1 {best['val_top1']} after 3 epochs\n")
    assert cnn("train", swept / "best.yaml", "--out", "best", "--quiet", "--threads", 1).code == 0
    assert_same_run(here / "best", swept / f"trial-{best['trial']}")


def test_text(cnn: Inside, project: Path, swept: Path, here: Path) -> None:
    outcome = cnn("sweep", project / "tiny.yaml", *LINE)
    assert outcome.code == 0
    told = re.sub("  +", "  ", outcome.out)
    assert told.startswith("run  runs/tiny-sweep\ntrials  4: 4 to epoch 1, ")
    assert re.search(r"\nbest  trial \d: epoch \d, validation top1 [01]\.\d{4}\n", told)
    assert "\nconfig  runs/tiny-sweep/best.yaml\n" in told
    assert re.search(r"\nnext  cnn eval --ckpt runs/tiny-sweep/trial-\d\n", told)
    assert "\n cnn train runs/tiny-sweep/best.yaml\n" in told.replace("  ", " ")
    header = "trial +epochs +top1 +loss +train.optimizer.lr +model.layers.0.conv.out_channels"
    assert re.search(rf"\n\n{header}\n", outcome.out)
    notes = [line for line in outcome.err.splitlines() if not line.startswith("epoch")]
    assert notes[0] == (
        "cnn: trial 1, to epoch 1 of 3: train.optimizer.lr=0.05, model.layers.0.conv.out_channels=4"
    )
    assert_same_sweep(swept, here / "runs/tiny-sweep")


def test_json(cnn: Inside, project: Path, swept: Path, here: Path) -> None:
    before = contents(swept)
    line = ("sweep", project / "tiny.yaml", *LINE, "--out", swept, "--resume", "--json")
    outcome = cnn(*line)
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    assert list(document) == [
        *("run", "monitor", "rungs", "stopped", "best", "own", "config", "seconds", "trials"),
    ]
    assert (document["rungs"], document["own"], document["monitor"]) == ([1, 3], 1, "top1")
    trial = document["trials"][1]
    assert trial["run"] == str(swept / "trial-2")
    assert [type(trial["values"][key]) for key in KEYS] == [float, int]
    assert contents(swept) == before, "a resume that finds nothing to do writes nothing"


def test_killed_and_resumed(project: Path, swept: Path, here: Path) -> None:
    line = ("sweep", project / "tiny.yaml", *LINE, "--out", "a", "--resume", "--quiet")
    places = ["a/sweep.json", *(f"a/trial-{number}/last.npz" for number in (1, 2, 4))]
    kill_as_each_appears(places, *line)
    assert process(*line, cwd=here).code == 0
    assert_same_sweep(swept, here / "a")


def test_stopped_by_its_budget_again_and_again(
    cnn: Inside, project: Path, swept: Path, here: Path
) -> None:
    line = ("sweep", project / "tiny.yaml", *LINE, "--out", "a", "--resume")
    outcome = cnn(*line, "--budget", "0.001s")
    assert outcome.code == 75, "there is no result yet"
    assert outcome.out.startswith("run      a\ntrials   0\nstopped  budget\n")
    codes = {75}
    for number in range(1, 1000):
        codes.add(cnn(*line, "--budget", f"{number * 0.05:.2f}s", "--quiet").code)
        if any(row["status"] == "finished" for row in rows_of(here / "a")):
            break
    assert codes == {0, 75}
    assert cnn(*line, "--quiet").code == 0
    rows = rows_of(here / "a")
    assert [row["trial"] for row in rows] == ["1", "2", "3", "4"]
    # Promotions, and the step at which a trial is stopped for good, depend on the time left; the
    # trials' epochs do not.
    for row, other in zip(rows, rows_of(swept), strict=True):
        assert [row[key] for key in KEYS] == [other[key] for key in KEYS]
        runs = [folder / f"trial-{row['trial']}" for folder in (swept, here / "a")]
        shorter, longer = sorted(map(metrics_of, runs), key=len)
        assert shorter == longer[: len(shorter)]
        if row["status"] == other["status"] == "finished":
            assert_same_run(*runs)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_saves_and_stops(
    project: Path, swept: Path, here: Path, number: signal.Signals, code: int
) -> None:
    line = ["sweep", str(project / "tiny.yaml"), *map(str, LINE), "--out", "a", "--resume"]
    running = subprocess.Popen([*COMMAND, *line], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not Path("a/trial-1/last.npz").exists():
        assert running.poll() is None
        time.sleep(0.002)
    running.send_signal(number)
    out, _ = running.communicate()
    assert running.returncode == code
    assert b"stopped" in out
    assert b"the same command with --resume\n" in out
    assert process(*line, cwd=here).code == 0
    assert_same_sweep(swept, here / "a")


def test_more_trials_go_on_from_those_there_are(
    cnn: Inside, project: Path, swept: Path, here: Path
) -> None:
    more = [*LINE[:4], 2, *LINE[5:]]
    assert cnn("sweep", project / "tiny.yaml", *more, "--out", "a", "--quiet").code == 0
    assert len(rows_of(here / "a")) == 2
    assert cnn("sweep", project / "tiny.yaml", *LINE, "--out", "a", "--resume").code == 0
    ours, whole = rows_of(here / "a"), rows_of(swept)
    assert [[row[key] for key in KEYS] for row in ours] == [
        [row[key] for key in KEYS] for row in whole
    ]


def test_resumed_after_the_images_changed(cnn: Inside, project: Path, here: Path) -> None:
    photos = shutil.copytree(project / "photos", here / "photos")
    line = ("sweep", project / "tiny.yaml", *LINE[:4], 2, *LINE[5:], "--data", photos)
    assert cnn(*line, "--out", "a", "--quiet").code == 0
    before = contents(here / "a")
    (photos / "train/dark/0.png").write_bytes((photos / "train/dark/1.png").read_bytes())
    outcome = cnn(*line, "--out", "a", "--resume")
    rule = (
        "cnn: a: the images must be those that trial-1 was trained with, to compare trials; "
        "another --out begins a new sweep. Got 1 with other content.\n"
    )
    assert outcome == Outcome(4, "", rule)
    assert contents(here / "a") == before


def test_trials_keep_their_values(cnn: Inside, project: Path, here: Path) -> None:
    """Draws that did not fit in memory, and were skipped, may fit when the sweep is resumed."""
    keys = ["model.layers.0.conv.out_channels", "train.optimizer.lr"]
    space = (f"{keys[0]}=4,5,6,2000,2001,2002", f"{keys[1]}=0.1,0.2", "train.epochs=1")
    line = ("sweep", project / "tiny.yaml", *space, *LINE[5:], "--out", "a", "--quiet")
    values = []
    for options in (("--memory", "68M", "--trials", 4), ("--trials", 12, "--resume")):
        outcome = cnn(*line, *options)
        assert (outcome.code, outcome.err) == (0, "")
        values += [[row[key] for key in keys] for row in rows_of(here / "a")]
    assert {wide for wide, _ in values[:4]} <= {"4", "5", "6"}
    assert values[4:8] == values[:4]
    assert len({tuple(each) for each in values[4:]}) == 12
    for number, (wide, lr) in enumerate(values[4:], 1):
        trained = plain_config(load_config(f"a/trial-{number}/config.yaml"))
        assert str(trained["model"]["layers"][0]["conv"]["out_channels"]) == wide
        assert str(trained["train"]["optimizer"]["lr"]) == lr


def test_choices_are_tried_once_each(cnn: Inside, project: Path, here: Path) -> None:
    words = ("train.optimizer.type=sgd,adamw", "train.batch_size=8..10", "train.epochs=1")
    assert cnn("sweep", project / "tiny.yaml", *words, "--out", "a", "--quiet").code == 0
    rows = rows_of(here / "a")
    tried = {(row["train.optimizer.type"], row["train.batch_size"]) for row in rows}
    assert tried == {(kind, size) for kind in ("sgd", "adamw") for size in ["8", "9", "10"]} | (
        {("sgd", "8"), ("adamw", "10")}
    )
    assert len(rows) == len(tried) == 6


def test_keys_that_some_choices_have_not(cnn: Inside, project: Path, here: Path) -> None:
    """A choice that is invalid with every value of another key is an error before training."""
    words = ["train.optimizer.type=sgd,adamw", "train.optimizer.momentum=0.5..0.9"]
    for line in (words, words[::-1]):
        outcome = cnn("sweep", project / "tiny.yaml", *line, "--out", "a")
        assert (outcome.code, outcome.out) == (3, "")
        place = f"{project / 'tiny.yaml'}: train.optimizer.momentum"
        assert outcome.err == f"cnn: {place}: unknown key.\n"
        assert not Path("a").exists()


def test_combinations_that_make_no_network_are_passed_over(
    cnn: Inside, project: Path, here: Path
) -> None:
    size, padding = "model.layers.0.conv.kernel_size", "model.layers.0.conv.padding"
    words = (f"{size}=1,11", f"{padding}=0,5", "train.epochs=1")
    outcome = cnn("sweep", project / "tiny.yaml", *words, "--out", "a")
    assert outcome.code == 0
    assert "cnn: skipped, like others of its kind: " in outcome.err
    tried = sorted((row[size], row[padding]) for row in rows_of(here / "a"))
    assert tried == [("1", "0"), ("1", "5"), ("11", "5")]


def test_a_trial_that_diverges_is_a_bad_one(cnn: Inside, project: Path, here: Path) -> None:
    line: tuple[Any, ...] = ("sweep", project / "tiny.yaml", "train.optimizer.lr=1e30,0.05")
    line += (
        "train.epochs=3",
        "train.optimizer.momentum=0",
        "train.precise_bn=false",
        "--threads",
        1,
        "--out",
        "a",
    )
    outcome = cnn(*line, "--resume")
    assert outcome.code == 0
    assert "cnn: trial 2: epoch 1, step " in outcome.err
    assert "1 diverged" in outcome.out
    rows = rows_of(here / "a")
    assert [(row["status"], row["val_top1"] == "") for row in rows] == [
        ("finished", False),
        ("diverged", True),
    ]
    before = contents(here / "a")
    outcome = cnn(*line, "--resume")
    assert outcome.code == 0
    assert "1 diverged" in outcome.out
    assert contents(here / "a") == before


def test_all_trials_diverge(cnn: Inside, project: Path, here: Path) -> None:
    line = ("sweep", project / "tiny.yaml", "train.optimizer.lr=1e30,1e31", "train.epochs=3")
    outcome = cnn(*line, "train.optimizer.momentum=0", "--out", "a")
    assert outcome.code == 5
    assert outcome.err.splitlines()[-1] == (
        "cnn: a: every trial diverged; try smaller learning rates."
    )
    assert not Path("a/best.yaml").exists()


def test_the_folder_is_locked(cnn: Inside, project: Path, here: Path) -> None:
    Path("a").mkdir()
    lock = RunLock(Path("a"))
    assert cnn("sweep", project / "tiny.yaml", *LINE, "--out", "a").code == 7
    lock.release()


def test_folders_of_another_kind(
    cnn: Inside, project: Path, swept: Path, trained: Path, here: Path
) -> None:
    line = ("sweep", project / "tiny.yaml")
    outcome = cnn(*line, *LINE, "--out", swept)
    assert (outcome.code, outcome.err) == (
        2,
        f"cnn: --out {swept}: holds a sweep; give --resume to continue it.\n",
    )
    outcome = cnn(*line, *LINE, "--out", trained, "--resume")
    assert (outcome.code, outcome.err) == (
        2,
        f"cnn: --out {trained}: holds a run, not a sweep; give another folder.\n",
    )
    rule = "a resumed sweep keeps its config and the values it searches."
    for words, other in (
        ((*LINE[:1], SPACE[0], *LINE[3:]), f"another {SPACE[1]}"),
        ((*LINE[:1], SPACE[1], SPACE[0], *LINE[3:]), "another order"),
        ((*LINE, "train.ema=0.5"), "another train.ema"),
        (("train.epochs=4", *LINE[1:]), "another train.epochs"),
    ):
        outcome = cnn(*line, *words, "--out", swept, "--resume")
        assert outcome.code == 3
        assert outcome.err == f"cnn: {project / 'tiny.yaml'}: {rule} Got {other}.\n"
    for more in ((), ("--dry-run",)):
        outcome = cnn("train", project / "tiny.yaml", *more, "--out", swept, "--resume")
        assert (outcome.code, outcome.out, outcome.err) == (
            2,
            "",
            f"cnn: --resume: {swept} holds a sweep; continue it with cnn sweep.\n",
        )
    outcome = cnn("train", project / "tiny.yaml", "--out", swept)
    assert outcome.code == 2
    outcome = cnn("train", project / "tiny.yaml", "--out", swept, "--folds", 2, "--resume")
    assert (outcome.code, outcome.err) == (
        2,
        f"cnn: --folds: {swept} holds a sweep; give another --out.\n",
    )


def test_overwriting_it_with_a_run(cnn: Inside, project: Path, here: Path) -> None:
    line = ("--out", "a", "--quiet")
    words = ("train.optimizer.lr=0.1,0.2", "train.epochs=1")
    assert cnn("sweep", project / "tiny.yaml", *words, *line).code == 0
    assert cnn("train", project / "tiny.yaml", *line, "--overwrite", "--epochs", 1).code == 0
    assert not [*here.glob("a/trial-*"), *here.glob("a/sweep.*")]


@needs_mpi
def test_several_processes(project: Path, here: Path) -> None:
    line: tuple[Any, ...] = ("sweep", project / "tiny.yaml", *LINE, "--out", "a", "--quiet")
    outcome = mpiexec(together(2, *line))
    assert outcome == Outcome(0, "", "")
    assert [row["trial"] for row in rows_of(here / "a")] == ["1", "2", "3", "4"]
    outcome = mpiexec(together(2, *line, "--resume", "--budget", "1h"))
    assert outcome == Outcome(0, "", "")
    outcome = mpiexec(together(2, "sweep", project / "tiny.yaml", "a=2..1"))
    assert outcome == Outcome(3, "", "cnn: a=2..1: a range must begin below its end.\n")
