"""Every kind of invalid config: one line with the place, the rule and what was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnn_cli.config import load_config, required_root, validate_config
from cnn_cli.errors import ConfigError, ExitCode

COUNT_OR_CLASSES = "must be a whole number above 0, or 'classes'."
NUMBER_ABOVE_0 = "must be a whole number above 0."
NUMBER = "must be a whole number, 0 or more."
MAPPING = "must be a mapping of keys to values."
PATTERN = "must be a regular expression with a group, as '^([^/_]+)_'."
BELOW_1 = "must be a number from 0 up to, but not, 1."
LAYER = "a layer is a name, or one name with its arguments."
PADDING = "must be a whole number, 0 or more, two or four of them, or 'same'."

DOCUMENTS = [
    ("", f"{MAPPING} Got nothing."),
    ("- a", f"{MAPPING} Got ['a']."),
    ("words", f"{MAPPING} Got 'words'."),
    ("{}", "model: is required."),
    ("model: 3", f"model: {MAPPING} Got 3."),
    ("model: {}", "model.layers: is required."),
    ("model: {layers: []}", "model.layers: must not be empty. Got []."),
    ("model: {layers: relu}", "model.layers: must be a list. Got 'relu'."),
    ("model: {layers: {relu: 1}}", "model.layers: must be a list. Got a mapping."),
    ("model: {layers: [relu], init: he}", "model.init: must be pytorch or kaiming. Got 'he'."),
    (
        "a: [",
        "must be YAML. Got expected the node content, but found '<stream end>' at line 1,"
        " column 5.",
    ),
    ("a: 1\na: 2", "must be YAML. Got the key 'a' occurs twice at line 2, column 1."),
]

LAYERS = [
    ("cnv: 3", "[0]: no such layer. Did you mean 'conv'? Got 'cnv'."),
    ("xyz", "[0]: no such layer. Got 'xyz'."),
    (
        "Softmax",
        "[0]: no such layer. Leave it out: the network ends in scores. Got 'Softmax'.",
    ),
    ("3", f"[0]: {LAYER} Got 3."),
    ("null", f"[0]: {LAYER} Got nothing."),
    ("{conv: 3, relu: }", f"[0]: {LAYER} Got a mapping."),
    ("conv", "[0].conv.out_channels: is required."),
    ("conv: 8", "[0].conv.kernel_size: is required."),
    (
        "conv: {out_channels: 0, kernel_size: 3}",
        f"[0].conv.out_channels: {COUNT_OR_CLASSES} Got 0.",
    ),
    (
        "conv: {out_channels: true, kernel_size: 3}",
        f"[0].conv.out_channels: {COUNT_OR_CLASSES} Got true.",
    ),
    (
        "conv: {out_channels: 8, kernel_size: three}",
        f"[0].conv.kernel_size: {NUMBER_ABOVE_0} Got 'three'.",
    ),
    (
        "conv: {out_channels: 8, kernel_size: 3.0}",
        f"[0].conv.kernel_size: {NUMBER_ABOVE_0} Got 3.0.",
    ),
    (
        "conv: {out_channels: 8, kernel_size: [3, 0]}",
        "[0].conv.kernel_size: must be two whole numbers above 0, [height, width]. Got [3, 0].",
    ),
    (
        "conv: {out_channels: 8, kernel_size: 3, stride: 0}",
        f"[0].conv.stride: {NUMBER_ABOVE_0} Got 0.",
    ),
    (
        "conv: {out_channels: 8, kernel_size: 3, strid: 1}",
        "[0].conv.strid: unknown key. Did you mean 'stride'?",
    ),
    ("conv: {out_channels: 8, kernel_size: 3, zoom: 1}", "[0].conv.zoom: unknown key."),
    (
        "conv: {out_channels: 8, kernel_size: 3, padding: sme}",
        f"[0].conv.padding: {PADDING} Got 'sme'.",
    ),
    (
        "conv: {out_channels: 8, kernel_size: 3, padding: -1}",
        f"[0].conv.padding: {PADDING} Got -1.",
    ),
    (
        "conv: {out_channels: 8, kernel_size: 3, bias: 1}",
        "[0].conv.bias: must be true or false. Got 1.",
    ),
    (
        "conv: {out_channels: 8, kernel_size: 3, init: zca}",
        "[0].conv.init: must be dirac, whitening, or a mapping of whitening's type and eps."
        " Got 'zca'.",
    ),
    ("scale", "[0].scale.factor: is required."),
    ("scale: .inf", "[0].scale.factor: must be a finite number. Got inf."),
    ("residual: {layers: [relu], drop_path: 1}", f"[0].residual.drop_path: {BELOW_1} Got 1."),
    ("elu: 0", "[0].elu.alpha: must be a number above 0. Got 0."),
    ("prelu: 0", "[0].prelu.num_parameters: must be a whole number above 0. Got 0."),
    ("squeeze_excite", "[0].squeeze_excite.squeeze_channels: is required."),
    (
        "squeeze_excite: {squeeze_channels: 8, activation: tanh}",
        "[0].squeeze_excite.activation: must be relu, silu, gelu, relu6 or hardswish. Got 'tanh'.",
    ),
    (
        "squeeze_excite: {squeeze_channels: 8, gate: relu}",
        "[0].squeeze_excite.gate: must be sigmoid or hardsigmoid. Got 'relu'.",
    ),
    ("relu7", "[0]: no such layer. Did you mean 'relu'? Got 'relu7'."),
    ("relu: 3", "[0].relu: takes no argument but name."),
    ("relu: {slope: 3}", "[0].relu.slope: unknown key."),
    (
        "relu: {name: a.b}",
        "[0].relu.name: must be a name of letters, digits, '_' and '-'. Got 'a.b'.",
    ),
    ("leaky_relu: -1", "[0].leaky_relu.negative_slope: must be a number, 0 or more. Got -1."),
    ("batchnorm: {momentum: 2}", "[0].batchnorm.momentum: must be a number from 0 to 1. Got 2."),
    ("batchnorm: {eps: 0}", "[0].batchnorm.eps: must be a number above 0. Got 0."),
    ("groupnorm", "[0].groupnorm.num_groups: is required."),
    (
        "maxpool: {kernel_size: 2, padding: 2}",
        "[0].maxpool: padding must be at most half of kernel_size.",
    ),
    (
        "avgpool: {kernel_size: 2, ceil_mode: yes}",
        "[0].avgpool.ceil_mode: must be true or false. Got 'yes'.",
    ),
    ("dropout: 1.5", "[0].dropout.p: must be a number from 0 to 1. Got 1.5."),
    (
        "linear: clases",
        "[0].linear.out_features: must be a whole number above 0, or 'classes'. Got 'clases'.",
    ),
    ("residual", "[0].residual.layers: is required."),
    ("residual: {layers: []}", "[0].residual.layers: must not be empty. Got []."),
    (
        "residual: {layers: [relu], shortcut: [geluu]}",
        "[0].residual.shortcut[0]: no such layer. Did you mean 'gelu'? Got 'geluu'.",
    ),
    ("branches: [relu]", "[0].branches[0]: must be a list. Got 'relu'."),
    ("eca: 4", "[0].eca: kernel_size must be odd."),
    (
        "conv: {out_channels: 8, kernel_size: 3, padding: [1, 2, 3]}",
        f"[0].conv.padding: {PADDING} Got [1, 2, 3].",
    ),
    (
        "conv: {out_channels: 8, kernel_size: 3, padding: [0, 1, 0, -1]}",
        f"[0].conv.padding: {PADDING} Got [0, 1, 0, -1].",
    ),
    (
        "conv: {out_channels: 8, kernel_size: 3, padding_mode: mirror}",
        "[0].conv.padding_mode: must be zeros or reflect. Got 'mirror'.",
    ),
    (
        "maxpool: {kernel_size: 3, padding: [0, 1, 0]}",
        "[0].maxpool.padding: must be two whole numbers, 0 or more, [height, width], or four, "
        "[top, bottom, left, right]. Got [0, 1, 0].",
    ),
    (
        "maxpool: {kernel_size: 3, padding: [0, 1, 0, 2]}",
        "[0].maxpool: padding must be at most half of kernel_size.",
    ),
    ("pad", "[0].pad.padding: is required."),
    (
        "pad: [1, 2, 3]",
        "[0].pad.padding: must be two whole numbers, [height, width], or four, "
        "[top, bottom, left, right]. Got [1, 2, 3].",
    ),
    ("pad: -1.5", "[0].pad.padding: must be a whole number. Got -1.5."),
    ("slice: -1", "[0].slice.start: must be a whole number, 0 or more. Got -1."),
    ("slice: {stop: 0}", "[0].slice.stop: must be a whole number above 0. Got 0."),
    ("radix_softmax", "[0].radix_softmax.radix: is required."),
    ("from: a b", "[0].from.layer: must be the name of a layer. Got 'a b'."),
    ("from", "[0].from.layer: is required."),
    (
        "branches: {branches: [[relu]], combine: multiply}",
        "[0].branches.combine: must be concat, sum or product. Got 'multiply'.",
    ),
    (
        "branches: [[relu], [relu, reul]]",
        "[0].branches[1][1]: no such layer. Did you mean 'relu'? Got 'reul'.",
    ),
    (
        "repeat: {times: 0, layers: [relu]}",
        "[0].repeat.times: must be a whole number from 1 to 1000. Got 0.",
    ),
    ("repeat: 3", "[0].repeat.layers: is required."),
    (
        "repeat: {times: 2, layers: [residual: {layers: [conv: {out_channels: 8,"
        " kernel_size: -1}]}]}",
        f"[0].repeat.layers[0].residual.layers[0].conv.kernel_size: {NUMBER_ABOVE_0} Got -1.",
    ),
]

SECTIONS = [
    ("dat: {}", "dat: unknown key. Did you mean 'data'?"),
    ("data: [1]", f"data: {MAPPING} Got [1]."),
    ("data: {rot: x}", "data.rot: unknown key. Did you mean 'root'?"),
    ("data: {root: 3}", "data.root: must be a text. Got 3."),
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
        "train.optimizer.betas: must be two numbers from 0 up to, but not, 1. Got [0.9, 1.0].",
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
]


def message(path: Path, text: str | bytes) -> str:
    """Return the error for a config file, without its name."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.code == ExitCode.CONFIG
    line = caught.value.line()
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line[len(f"{path}: ") :]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.yaml"


def names(cases: list[tuple[str, str]]) -> list[str]:
    return [text.replace("\n", " ") for text, _ in cases]


@pytest.mark.parametrize(("text", "expected"), DOCUMENTS, ids=names(DOCUMENTS))
def test_document(path: Path, text: str, expected: str) -> None:
    assert message(path, text) == expected


@pytest.mark.parametrize(("text", "expected"), LAYERS, ids=names(LAYERS))
def test_layer(path: Path, text: str, expected: str) -> None:
    assert message(path, f"model: {{layers: [{text}]}}") == f"model.layers{expected}"


FACTORS = "must be a mapping of parameters' names to numbers, 0 or more."
FREEZE = (
    "must be a number of layers, a list of parameters' names, or a mapping of them to whole "
    "numbers of epochs."
)

SECTIONS += [
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
    ("data: {label_sep: 3}", "data.label_sep: must be what stands between labels, as '|'. Got 3."),
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
        "train.scheduler.factor: must be a number from 0 up to, but not, 1. Got 1.",
    ),
    (
        "train: {scheduler: {type: linear, end_factor: 2}}",
        "train.scheduler.end_factor: must be a number from 0 to 1. Got 2.",
    ),
]


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


def test_the_first_error_is_the_one_told(path: Path) -> None:
    text = "model: {layers: [relu]}\ndata: {val_split: 2}\ntrain: {epochs: -1}"
    assert message(path, text) == f"data.val_split: {BELOW_1} Got 2."


def test_long_values_are_cut(path: Path) -> None:
    line = message(path, f"model: {{layers: [relu], init: {'x' * 200}}}")
    assert line == f"model.init: must be pytorch or kaiming. Got '{'x' * 58}…."


def test_files_that_are_no_text(path: Path) -> None:
    assert message(path, b"\xff\xfea") == "must be UTF-8 text."
    assert message(path, b"a: \x00").startswith("must be YAML. Got unacceptable character #x0000")
    assert message(path, b"#" * 1_000_001) == "must be at most 1,000,000 bytes."


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        (
            "train.epochs=3",
            "needs a config file before it, as in cnn train CONFIG KEY=VALUE",
        ),
        (
            "configs/ResNet_18.yaml",
            "cannot be read; `cnn networks resnet18 > resnet18.yaml` writes such a config",
        ),
        (
            "resnet50",
            "cannot be read; `cnn networks resnet50 > resnet50.yaml` writes such a config",
        ),
    ],
)
def test_a_config_that_is_not_there_may_be_something_else(name: str, rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(name)
    assert caught.value.line() == f"{name}: {rule}. Got no such file or directory."


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "no.yaml")
    assert caught.value.line() == (
        f"{tmp_path}/no.yaml: cannot be read. Got no such file or directory."
    )
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path)
    assert caught.value.line() == f"{tmp_path}: cannot be read. Got is a directory."


def test_control_characters_stay_on_one_line(path: Path) -> None:
    line = message(path, 'model: {layers: ["re\\nlu\\e[31m"]}')
    assert line == "model.layers[0]: no such layer. Got 're\\nlu\\x1b[31m'."


def test_the_file_is_named_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.yaml").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^c\.yaml: model: is required\.$"):
        load_config("c.yaml")


def test_a_root_is_required_somewhere() -> None:
    config = validate_config({"model": {"layers": ["relu"]}}, "c.yaml")
    with pytest.raises(ConfigError) as caught:
        required_root(config, "c.yaml")
    assert caught.value.line() == "c.yaml: data.root: is required, here or as --data DIR."


def test_an_unknown_key_is_told_before_a_missing_one(path: Path) -> None:
    """It is often the same key misspelled."""
    line = message(path, "Model: {layers: [relu]}")
    assert line == "Model: unknown key. Did you mean 'model'?"


def test_keys_are_words(path: Path) -> None:
    assert message(path, "1: 2\nmodel: {layers: [relu]}") == "keys must be words. Got 1."


def test_a_root_with_a_null_byte(path: Path) -> None:
    line = message(path, 'model: {layers: [relu]}\ndata: {root: "/a\\0b"}')
    assert line == r"data.root: must be a text. Got '/a\x00b'."


def test_a_home_that_is_not_known_is_a_name_like_any_other(path: Path) -> None:
    path.write_text("model: {layers: [relu]}\ndata: {root: ~nosuchuser/x}")
    assert load_config(path).data.root == str(path.parent / "~nosuchuser/x")
