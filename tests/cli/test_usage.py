"""Invalid command lines: one line each, exit code 2."""

from __future__ import annotations

import pytest
from cli_program import Inside

TRAIN = "train c.yaml "
EVAL = "eval --ckpt m.npz "
PREDICT = "predict --ckpt m.npz "


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trian", "trian: no such command. Did you mean 'train'?"),
        ("xyzzy", "xyzzy: no such command."),
        ("--bogus", "--bogus: no such option of cnn."),
        ("train", "train: needs CONFIG. Got nothing."),
        ("train --epoch=3", "--epoch: no such option of train. Did you mean '--epochs'?"),
        ("train c.yaml -x", "-x: no such option of train."),
        ("eval --model m.npz", "--model: no such option of eval. Did you mean '--ckpt'?"),
        (
            "train c.yaml --imgsz 64",
            "--imgsz: no such option of train. Did you mean 'data.image_size=…'?",
        ),
        (
            "train c.yaml --device cpu",
            "--device: no such option of train. Leave it out: the CPU computes.",
        ),
        ("eval --workers 3", "--workers: no such option of eval. Did you mean '--threads'?"),
        ("report run --patience 3", "--patience: no such option of report."),
        ("report --ckpt run", "--ckpt: no such option of report. Write RUN without --ckpt."),
        ("eval --data photos", "--data: no such option of eval. Write DIR without --data."),
        ("predict --image a", "--image: no such option of predict. Write SOURCE without --image."),
        ("eval --resume", "--resume: no such option of eval."),
        ("lr c.yaml --resume", "--resume: no such option of lr."),
        # These were answered with an option that is only a little alike, and deletes a run.
        ("train c.yaml --verbose", "--verbose: no such option of train."),
        (
            "train c.yaml --freeze 3",
            "--freeze: no such option of train. Did you mean 'train.freeze=…'?",
        ),
        (
            "train c.yaml --mixup 1",
            "--mixup: no such option of train. Did you mean 'augment.mixup=…'?",
        ),
        ("config schema a", "config schema: takes no more arguments. Got a."),
        (TRAIN + "extra", "extra: an override is written KEY=VALUE, such as train.epochs=3."),
        (TRAIN + "=3", "=3: an override is written KEY=VALUE, such as train.epochs=3."),
        (TRAIN + "--epochs", "--epochs: needs a value. Got nothing."),
        (TRAIN + "--quiet=yes", "--quiet: takes no value."),
        (TRAIN + "--epochs x", "--epochs: must be a whole number, 0 or more. Got 'x'."),
        (TRAIN + "--epochs -1", "--epochs: must be a whole number, 0 or more. Got '-1'."),
        (TRAIN + "-b 0", "--batch-size: must be a whole number above 0. Got '0'."),
        (TRAIN + "--lr nan", "--lr: must be a number, 0 or more. Got 'nan'."),
        (TRAIN + "--threads 0", "--threads: must be a whole number above 0. Got '0'."),
        (TRAIN + "--backend c", "--backend: must be numpy or fast. Got 'c'."),
        (
            TRAIN + "--time-limit 5x",
            "--time-limit: must be a time above 0, as 90s, 25m or 1h30m. Got '5x'.",
        ),
        (
            TRAIN + "--fail-under tpo5=0.9",
            "--fail-under: no such metric. Did you mean 'top5'? Got 'tpo5'.",
        ),
        (
            TRAIN + "--fail-under top1=90",
            "--fail-under: the bound of top1 must be from 0 to 1. Got '90'.",
        ),
        # Of two files or names, the first was passed over without a word.
        ("embed d --ckpt a --ckpt b -o x.npz", "--ckpt: may be given only once. Got 2."),
        (PREDICT + "--from-file a --from-file=b", "--from-file: may be given only once. Got 2."),
        ("explain d --ckpt m --class a --class b", "--class: may be given only once. Got 2."),
        (TRAIN + "-o a --out b", "--output: may be given only once. Got 2."),
        ("eval", "eval: needs --ckpt FILE. Got nothing."),
        (EVAL + "a b", "eval: takes one DIR at most. Got 'b' as well."),
        (EVAL + "--split tset", "--split: must be train, val, test or all. Got 'tset'."),
        (EVAL + "--confusion c.txt", "--confusion: must be a .csv or .png file. Got 'c.txt'."),
        (EVAL + "--predictions p.txt", "--predictions: must be a .csv file. Got 'p.txt'."),
        (
            EVAL + "--confusion c.csv --predictions c.csv",
            "--confusion: must be another file than --predictions.",
        ),
        (
            EVAL + "--confusion ./c.csv --predictions x/../c.csv",
            "--confusion: must be another file than --predictions.",
        ),
        ("networks --threads 2", "--threads: goes with --measure. Got 2."),
        ("networks resnet18 --backend numpy", "--backend: goes with --measure. Got numpy."),
        ("import --list --which ema", "--list: goes without --which. Got ema."),
        ("import --list --channel-order bgr", "--list: goes without --channel-order. Got bgr."),
        ("import --list --classes a", "--list: goes without --classes. Got a."),
        (
            EVAL + "--fail-under top1",
            "--fail-under: must be written METRIC=BOUND, as top1=0.9, recall:CLASS=0.8 or "
            "loss=0.5. Got 'top1'.",
        ),
        ("predict x.png", "predict: needs --ckpt FILE. Got nothing."),
        (PREDICT, "predict: needs SOURCE, --from-file LIST or --watch DIR. Got nothing."),
        (
            PREDICT + "--watch x y.png",
            "--watch: replaces SOURCE and --from-file. Got both.",
        ),
        (
            PREDICT + "--watch x --output y",
            "--watch: never ends, so --output would never be written; use --append.",
        ),
        (PREDICT + "x --move", "--move: goes with --sort-into DIR."),
        (
            PREDICT + "x --sort-into y --copy --move",
            "--copy: is another way to sort. Got --move as well.",
        ),
        (PREDICT + "x --dry-run", "--dry-run: goes with --sort-into or --append."),
        (PREDICT + "- --sort-into y", "--sort-into: takes files. Got -, an image on stdin."),
        (
            PREDICT + "/ --sort-into /",
            "--sort-into: must be another folder than what is sorted. Got /.",
        ),
        (PREDICT + "x --append y.txt", "--append: must be a .csv or .jsonl file. Got 'y.txt'."),
        (
            PREDICT + "x --append y.csv --output z",
            "--append: replaces --output. Got both.",
        ),
        (
            PREDICT + "x --append y.csv --json",
            "--append: says the format, csv. Got --format json as well.",
        ),
        (
            PREDICT + "--watch x --json",
            "--watch: never ends, and a JSON array must; use --format jsonl.",
        ),
        (PREDICT + "- -", "-: stdin can be read only once."),
        (PREDICT + "- --from-file -", "-: stdin can be read only once."),
        (PREDICT + "x -0", "-0: goes with --from-file LIST."),
        (
            PREDICT + "x --json --format csv",
            "--json: is short for --format json. Got --format csv as well.",
        ),
        (
            PREDICT + "x --format xml",
            "--format: must be text, json, jsonl or csv. Got 'xml'.",
        ),
        (PREDICT + "x --min-prob 2", "--min-prob: must be a number from 0 to 1. Got '2'."),
        ("summary", "summary: needs CONFIG|CKPT. Got nothing."),
        ("summary m.npz a=1", "a=1: a checkpoint's config cannot be changed."),
        ("summary m.npz --classes 3", "--classes: a checkpoint has its own classes."),
        ("init", "init: needs DIR. Got nothing."),
        (
            "init photos --budget 0",
            "--budget: must be a time above 0, as 90s, 25m or 1h30m. Got '0'.",
        ),
        ("init photos --backend c", "--backend: must be numpy or fast. Got 'c'."),
        ("export --ckpt m.npz", "export: needs --output FILE.onnx|FILE.safetensors. Got nothing."),
        (
            "export --ckpt m.npz --output x.onnx --int8",
            "--int8: needs --calibrate DIR. Got nothing.",
        ),
        (
            "export --ckpt m.npz --output x.safetensors --int8 --calibrate d",
            "--int8: goes with an --output ending in .onnx.",
        ),
        (
            "export --ckpt m.npz --output x.onnx --int8 --calibrate d --check d",
            "--check: compares to 1e-4, which int8 cannot reach: goes without --int8.",
        ),
        (
            "export --ckpt m.npz --output x.onnx --calibrate d",
            "--calibrate: goes with --int8.",
        ),
        (
            "export --ckpt m.npz --output x.onnx --fail-under top1=0.5",
            "--fail-under: goes with --int8.",
        ),
        (
            "export --ckpt m.npz --output x.onnx --split test",
            "--split: goes with --calibrate DIR.",
        ),
        ("import m.pt", "import: needs --config CONFIG. Got nothing."),
        ("report", "report: needs RUN. Got nothing."),
        ("bench", "bench: needs CONFIG|CKPT. Got nothing."),
        ("bench m.npz a=1", "a=1: a checkpoint's config cannot be changed."),
        ("bench m.npz --classes 3", "--classes: a checkpoint has its own classes."),
        ("bench c.yaml -b 0", "--batch-size: must be a whole number above 0. Got '0'."),
        ("bench c.yaml --seconds x", "--seconds: must be a number, 0 or more. Got 'x'."),
        ("bench c.yaml --backend c", "--backend: must be numpy or fast. Got 'c'."),
        (
            "docs convoluted",
            "convoluted: no such page; cnn docs lists them. Did you mean 'convolution'?",
        ),
        ("completion", "completion: needs bash|zsh|fish. Got nothing."),
        ("completion tcsh", "completion: must be bash, zsh or fish. Got 'tcsh'."),
        ("config", "config: must be followed by schema. Got nothing."),
        ("config shcema", "shcema: no such command. Did you mean 'schema'?"),
    ],
)
def test_wrong_command_lines(cnn: Inside, line: str, message: str) -> None:
    outcome = cnn(*line.split())
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"cnn: {message}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "c.yaml", "--out", ""], "--out: must be a path. Got an empty one."),
        (["predict", "", "--ckpt", "m"], "SOURCE: must be a path. Got an empty one."),
        (["a\nb"], "a\\nb: no such command."),
        (["train", "c.yaml", "--\udcff"], "--\\udcff: no such option of train."),
    ],
)
def test_odd_characters_stay_on_one_line(cnn: Inside, arguments: list[str], message: str) -> None:
    outcome = cnn(*arguments)
    assert (outcome.code, outcome.err) == (2, f"cnn: {message}\n")


def test_cnn_alone_shows_what_to_do_first(cnn: Inside) -> None:
    outcome = cnn()
    assert (outcome.code, outcome.out) == (2, "")
    lines = outcome.err.splitlines()
    assert "    cnn init photos             propose a config, photos.yaml" in lines
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    "words", [["-h"], ["train", "-h"], ["data", "-h"], ["data", "check", "-h"]]
)
def test_h_is_help(cnn: Inside, words: list[str]) -> None:
    short, long = cnn(*words), cnn(*words[:-1], "--help")
    assert (short.code, short.out) == (0, long.out)
    assert short.out.startswith("Usage: cnn")
