"""Invalid keys and values in the sections of a config."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_errors import BELOW_1, MAPPING, NUMBER_ABOVE_0, message, names

NUMBER = "must be a whole number, 0 or more."
PATTERN = "must be a regular expression with a group, as '^([^/_]+)_'."
FACTORS = "must be a mapping of parameters' names to numbers, 0 or more."
FREEZE = (
    "must be a number of layers, a list of parameters' names, or a mapping of them to whole "
    "numbers of epochs."
)


SECTIONS = [
    ("dat: {}", "dat: unknown key. Did you mean 'data'?"),
    ("data: [1]", f"data: {MAPPING} Got [1]."),
    ("data: {rot: x}", "data.rot: unknown key. Did you mean 'root'?"),
    ("data: {root: 3}", "data.root: must be a string. Got 3."),
    ("data: {image_size: 0}", f"data.image_size: {NUMBER_ABOVE_0} Got 0."),
    (
        "data: {image_size: [1, 2, 3]}",
        "data.image_size: must be two whole numbers above 0, [height, width]. Got [1, 2, 3].",
    ),
    ("data: {channels: 0}", "data.channels: must be a whole number above 0. Got 0."),
    ("data: {depth: 12}", "data.depth: must be 8, 16 or float. Got 12."),
    ("data: {depth: '16'}", "data.depth: must be 8, 16 or float. Got '16'."),
    (
        "data: {channels: 5}\naugment: {trivialaugment: true}",
        "augment.trivialaugment: changes colors, which needs data.channels 1 or 3 and data.depth "
        "8.",
    ),
    (
        "data: {depth: 16}\naugment: {color_jitter: 0.1}",
        "augment.color_jitter: changes colors, which needs data.channels 1 or 3 and data.depth 8.",
    ),
    (
        "data: {depth: float}\naugment: {random_erase: {value: random}}",
        "augment.random_erase: value must be mean for data.depth float, whose numbers have no full "
        "scale.",
    ),
    (
        "data: {resize_mode: stretch}",
        "data.resize_mode: must be crop, squash or letterbox. Got 'stretch'.",
    ),
    ("data: {mean: [0.5, 0.5]}", "data: mean must have one number per channel, 3."),
    (
        "data: {mean: x}",
        "data.mean: must be auto, or a list of numbers, one per channel. Got 'x'.",
    ),
    (
        "data: {std: 0}",
        "data.std: must be auto, or a list of numbers above 0, one per channel. Got 0.",
    ),
    ("data: {classes: [a]}", "data: classes must be two or more different names."),
    ("data: {classes: [a, b, a]}", "data: classes must be two or more different names."),
    ("data: {classes: [a, 1]}", "data.classes: must be a list of class names. Got ['a', 1]."),
    ("data: {val_split: 1}", f"data.val_split: {BELOW_1} Got 1."),
    ("data: {test_split: 1}", f"data.test_split: {BELOW_1} Got 1."),
    (
        "data: {val_split: 0.5, test_split: 0.5}",
        "data: val_split and test_split must be below 1 together.",
    ),
    ("data: {group: film}", f"data.group: {PATTERN} Got 'film'."),
    ("data: {group: '(film'}", f"data.group: {PATTERN} Got '(film'."),
    ("data: {group: 3}", f"data.group: {PATTERN} Got 3."),
    ("data: {val_split: .nan}", f"data.val_split: {BELOW_1} Got nan."),
    ("data: {on_corrupt: ignore}", "data.on_corrupt: must be skip or error. Got 'ignore'."),
    ("data: {cache: memory}", "data.cache: must be auto, ram, disk or none. Got 'memory'."),
    ("augment: {hfilp: 0.5}", "augment.hfilp: unknown key. Did you mean 'hflip'?"),
    ("train: 3", f"train: {MAPPING} Got 3."),
    ("train: {epoch: 3}", "train.epoch: unknown key. Did you mean 'epochs'?"),
    ("train: {epochs: -1}", f"train.epochs: {NUMBER} Got -1."),
    ("train: {epochs: 1.5}", f"train.epochs: {NUMBER} Got 1.5."),
    ("train: {epochs: ten}", f"train.epochs: {NUMBER} Got 'ten'."),
    ("train: {batch_size: 0}", f"train.batch_size: {NUMBER_ABOVE_0} Got 0."),
    ("train: {seed: -1}", f"train.seed: {NUMBER} Got -1."),
    ("train: {dtype: float16}", "train.dtype: must be float32 or float64. Got 'float16'."),
    (
        "train: {optimizer: {type: adam, momentum: 0.9}}",
        "train.optimizer.momentum: unknown key.",
    ),
    (
        "train: {optimizer: {lr: fast}}",
        "train.optimizer.lr: must be a number, 0 or more. Got 'fast'.",
    ),
    ("train: {optimizer: {lr: .inf}}", "train.optimizer.lr: must be a number, 0 or more. Got inf."),
    ("train: {optimizer: {momentum: 1}}", f"train.optimizer.momentum: {BELOW_1} Got 1."),
    (
        "train: {optimizer: {momentum: 0, nesterov: true}}",
        "train.optimizer: nesterov requires a momentum above 0.",
    ),
    (
        "train: {optimizer: {type: adamw, betas: [0.9, 1.0]}}",
        "train.optimizer.betas: must be two numbers, 0 or more and below 1. Got [0.9, 1.0].",
    ),
    ("train: {scheduler: {type: step}}", "train.scheduler.step_size: is required."),
    (
        "train: {scheduler: {type: multistep, milestones: 3}}",
        "train.scheduler.milestones: must be a list of whole numbers above 0. Got 3.",
    ),
    (
        "train: {scheduler: {warmup: 3}}",
        "train.scheduler.warmup: unknown key. Did you mean 'warmup_epochs'?",
    ),
    (
        "train: {label_smoothing: 1.1}",
        "train.label_smoothing: must be a number from 0 to 1. Got 1.1.",
    ),
    (
        "train: {class_weights: equal}",
        "train.class_weights: must be none, balanced, or a list of numbers, one per class."
        " Got 'equal'.",
    ),
    ("train: {clip_grad_norm: 0}", "train.clip_grad_norm: must be a number above 0. Got 0."),
    ("train: {early_stop: 0}", f"train.early_stop: {NUMBER_ABOVE_0} Got 0."),
    ("train: {precise_bn: maybe}", "train.precise_bn: must be auto, true or false. Got 'maybe'."),
    ("train: {on_nan: go}", "train.on_nan: must be stop or rollback. Got 'go'."),
    ("train: {checkpoint_every: 0}", f"train.checkpoint_every: {NUMBER_ABOVE_0} Got 0."),
    ("train: {lr_factors: 2}", f"train.lr_factors: {FACTORS} Got 2."),
    (
        "train: {lr_factors: {stem.bias: 1, stem.weight: -1}}",
        "train.lr_factors.stem.weight: must be a number, 0 or more. Got -1.",
    ),
    (
        "train: {weight_decay_factors: {'*': .nan}}",
        "train.weight_decay_factors.*: must be a number, 0 or more. Got nan.",
    ),
    ("train: {lr_factors: {3: 1}}", "train.lr_factors: keys must be words. Got 3."),
    ("train: {weight_decay_factors: [a]}", f"train.weight_decay_factors: {FACTORS} Got ['a']."),
    ("train: {layer_decay: 0}", "train.layer_decay: must be a number above 0, up to 1. Got 0."),
    ("train: {layer_decay: 1.2}", "train.layer_decay: must be a number above 0, up to 1. Got 1.2."),
    ("train: {layer_decay: [1]}", "train.layer_decay: must be a number above 0, up to 1. Got [1]."),
    ("train: {freeze: -1}", f"train.freeze: {FREEZE} Got -1."),
    ("train: {freeze: 3.0}", f"train.freeze: {FREEZE} Got 3.0."),
    ("train: {freeze: true}", f"train.freeze: {FREEZE} Got true."),
    (
        "train: {freeze: {stem.weight: 0.5}}",
        "train.freeze.stem.weight: must be a whole number, 0 or more. Got 0.5.",
    ),
    ("train: {freeze: [a, 3]}", "train.freeze[1]: must be a parameter's name. Got 3."),
    ("train: {freeze: {'': 3}}", "train.freeze: keys must be words. Got ''."),
    (
        "train: {optimizer: {type: muon, lr: 0}}",
        "train.optimizer.lr: must be a number above 0. Got 0.",
    ),
    (
        "train: {optimizer: {type: muon, steps: 21}}",
        "train.optimizer.steps: must be a whole number from 1 to 20. Got 21.",
    ),
    (
        "train: {optimizer: {type: muon, adjust_lr: rms}}",
        "train.optimizer.adjust_lr: must be original, match_rms_adamw or none. Got 'rms'.",
    ),
    (
        "train: {optimizer: {type: muon, momentum: 0}}",
        "train.optimizer: nesterov requires a momentum above 0.",
    ),
    (
        "train: {optimizer: {type: muon, other: muon}}",
        "train.optimizer.other.type: must be one of sgd, adam, adamw. Got 'muon'.",
    ),
    (
        "train: {optimizer: {type: muon, other: {type: adam, lr: -1}}}",
        "train.optimizer.other.lr: must be a number, 0 or more. Got -1.",
    ),
    (
        "train: {optimizer: {type: muon, other: {type: adam, momentun: 1}}}",
        "train.optimizer.other.momentun: unknown key.",
    ),
    ("train: {accumulate: 0}", f"train.accumulate: {NUMBER_ABOVE_0} Got 0."),
    (
        "data: {sampler: weighted}",
        "data.sampler: must be shuffle or balanced. Got 'weighted'.",
    ),
    ("train: {ema: 1}", f"train.ema: {BELOW_1} Got 1."),
    ("train: {lookahead: {every: 0}}", f"train.lookahead.every: {NUMBER_ABOVE_0} Got 0."),
    (
        "train: {ema: 0.9, lookahead: {}}",
        "train: ema and lookahead leave no room for each other: one of them.",
    ),
    (
        "train: {progressive_resizing: {initial_scale: 0}}",
        "train.progressive_resizing.initial_scale: must be a number above 0, up to 1. Got 0.",
    ),
    (
        "train: {progressive_resizing: {size_increment: 0.5}}",
        f"train.progressive_resizing.size_increment: {NUMBER_ABOVE_0} Got 0.5.",
    ),
    (
        "train: {progressive_resizing: {delay_fraction: 0.7, finetune_fraction: 0.4}}",
        "train.progressive_resizing: delay_fraction and finetune_fraction must be at most 1 "
        "together.",
    ),
    (
        "data: {shards: 8}\ntrain: {batch_size: 4}",
        "data.shards must be at most train.batch_size, 4.",
    ),
    (
        "train: {optimizer: {norm_weight_decay: -1}}",
        "train.optimizer.norm_weight_decay: must be a number, 0 or more. Got -1.",
    ),
    (
        "train: {loss: {type: focal, gamma: -1}}",
        "train.loss.gamma: must be a number, 0 or more. Got -1.",
    ),
    (
        "train: {loss: {gamma: 2}}",
        "train.loss.gamma: unknown key.",
    ),
    (
        "train: {loss: {type: focal, alpha: 2}}",
        "train.loss.alpha: must be a number from 0 to 1. Got 2.",
    ),
    ("data: {labels: many}", "data.labels: must be single or multiple. Got 'many'."),
    ("data: {label_sep: 3}", "data.label_sep: must be a separator, such as '|'. Got 3."),
    (
        "train: {loss: cross_entropy}\ndata: {labels: multiple}",
        "train.loss must be bce or focal where data.labels is multiple. Got 'cross_entropy'.",
    ),
    (
        "data: {labels: multiple, sampler: balanced}",
        "data: sampler must be shuffle if images have several labels.",
    ),
    (
        "train: {loss: {type: focal, gama: 2}}",
        "train.loss.gama: unknown key. Did you mean 'gamma'?",
    ),
    (
        "train: {loss: focl}",
        "train.loss.type: must be one of cross_entropy, bce, focal. Did you mean 'focal'? "
        "Got 'focl'.",
    ),
    (
        "train: {scheduler: {type: plateau, monitor: los}}",
        "train.scheduler.monitor: must be a metric, as top1, loss, macro_f1 or recall:CLASS. "
        "Did you mean 'loss'? Got 'los'.",
    ),
    (
        "train: {monitor: val_accuracy}",
        "train.monitor: must be a metric, as top1, loss, macro_f1 or recall:CLASS. "
        "Did you mean 'top1'? Got 'val_accuracy'.",
    ),
    (
        "train: {monitor: 5}",
        "train.monitor: must be a metric, as top1, loss, macro_f1 or recall:CLASS. Got 5.",
    ),
    ("train: {patience: 0}", "train.patience: must be a whole number above 0. Got 0."),
    (
        "train: {patience: 3, early_stop: 3}",
        "train: early_stop and patience are the same: one of them.",
    ),
    (
        "train: {scheduler: {type: plateau, factor: 1}}",
        "train.scheduler.factor: must be a number, 0 or more and below 1. Got 1.",
    ),
    (
        "train: {scheduler: {type: linear, end_factor: 2}}",
        "train.scheduler.end_factor: must be a number from 0 to 1. Got 2.",
    ),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.yaml"


@pytest.mark.parametrize(("text", "expected"), SECTIONS, ids=names(SECTIONS))
def test_section(path: Path, text: str, expected: str) -> None:
    assert message(path, f"model: {{layers: [relu]}}\n{text}") == expected


@pytest.mark.parametrize(
    ("optimizer", "rest"),
    [
        ("sdg", "must be one of sgd, adam, adamw, muon. Did you mean 'sgd'? Got 'sdg'."),
        ("{type: rmsprop}", "must be one of sgd, adam, adamw, muon. Got 'rmsprop'."),
        ("3", f"{MAPPING} Got 3."),
    ],
)
def test_no_such_optimizer(path: Path, optimizer: str, rest: str) -> None:
    line = message(path, f"model: {{layers: [relu]}}\ntrain: {{optimizer: {optimizer}}}")
    place = "train.optimizer" if optimizer == "3" else "train.optimizer.type"
    assert line == f"{place}: {rest}"


@pytest.mark.parametrize("value", ["true", "1.0", "3.0"])
def test_channels_are_a_whole_number(path: Path, value: str) -> None:
    line = message(path, f"model: {{layers: [relu]}}\ndata: {{channels: {value}}}")
    assert line == f"data.channels: must be a whole number above 0. Got {value}."


def test_a_root_with_a_null_byte(path: Path) -> None:
    line = message(path, 'model: {layers: [relu]}\ndata: {root: "/a\\0b"}')
    assert line == r"data.root: must be a string. Got '/a\x00b'."
