"""A written `config.yaml` is read back as the same config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_cli.config import Config, config_text, load_config, plain_config, validate_config
from cnn_cli.config.layers import LAYER_KINDS
from cnn_cli.config.yaml12 import parse_yaml

PLAIN = ["relu", "silu", "gelu", "relu6", "hardswish", "sigmoid", "hardsigmoid", "tanh", "selu"]
PLAIN += ["softplus", "softsign", "global_avgpool", "flatten"]
counts = st.integers(1, 2**31 - 1)
wholes = st.integers(0, 2**31 - 1)
signed = st.integers(1 - 2**31, 2**31 - 1)
shares = st.floats(0, 1)
shares_below_1 = st.floats(0, 1, exclude_max=True)
positive = st.floats(1e-300, 1e300)
not_below_0 = st.floats(0, 1e300)
pairs = counts | st.tuples(counts, counts).map(list)
sides = st.tuples(wholes, wholes, wholes, wholes).map(list)
# Words that YAML could read as another type are the interesting class names.
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8) | st.sampled_from(
    ["no", "1e3", "null", "010", "~", "1:30", "- a", "a: b", "#", "'", "\n", "\x85", "\ufeff", "<<"]
)
layer_names = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)


def mapping(required: dict[str, Any], **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


def layer(
    kind: str, required: dict[str, Any] | None = None, **optional: Any
) -> st.SearchStrategy[Any]:
    arguments = mapping(required or {}, name=layer_names, **optional)
    return arguments.map(lambda given: {kind: given})


def some(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(inner, min_size=1, max_size=3)


plain_layers = st.one_of(
    layer(
        "conv",
        {"out_channels": counts, "kernel_size": pairs},
        padding=st.just("same") | wholes,
        dilation=pairs,
        groups=counts,
        bias=st.booleans(),
    ),
    layer(
        "conv",
        {"out_channels": counts, "kernel_size": pairs},
        padding=st.tuples(wholes, wholes).map(list) | sides,
        stride=pairs,
        padding_mode=st.sampled_from(["zeros", "reflect"]),
    ),
    layer("pad", {"padding": wholes | sides}, padding_mode=st.just("reflect")),
    layer("pad", {"padding": signed | st.tuples(*[signed] * 4).map(list)}),
    layer("slice", start=wholes, stop=st.none() | counts),
    layer("radix_softmax", {"radix": counts}),
    layer("avgpool", {"kernel_size": st.just(2)}, padding=st.just([0, 1, 1, 0])),
    layer("batchnorm", eps=positive, momentum=shares),
    layer("groupnorm", {"num_groups": counts}, eps=positive),
    st.sampled_from([*PLAIN, "batchnorm"]),
    layer("relu"),
    layer("elu", alpha=positive),
    layer("prelu", num_parameters=counts),
    layer(
        "squeeze_excite",
        {"squeeze_channels": counts},
        activation=st.sampled_from(["relu", "silu", "gelu", "relu6", "hardswish"]),
        gate=st.sampled_from(["sigmoid", "hardsigmoid"]),
    ),
    layer("eca", kernel_size=st.none() | st.sampled_from([1, 5]), gate=st.just("hardsigmoid")),
    layer("upsample", {"scale": pairs}),
    layer("lrn", {"size": counts}, alpha=positive, beta=positive, k=positive),
    layer("layernorm", eps=positive),
    layer("layer_scale", init=positive),
    layer("adaptive_avgpool", {"output_size": pairs}),
    layer("channel_shuffle", {"groups": counts}),
    layer("leaky_relu", negative_slope=not_below_0),
    layer("maxpool", {"kernel_size": st.just(4)}, stride=pairs, padding=st.integers(0, 2)),
    layer(
        "avgpool", {"kernel_size": pairs}, ceil_mode=st.booleans(), count_include_pad=st.booleans()
    ),
    counts.map(lambda size: {"maxpool": size}),
    shares.map(lambda p: {"dropout": p}),
    layer("scale", {"factor": st.floats(-1e9, 1e9)}),
    layer(
        "conv",
        {"out_channels": counts, "kernel_size": pairs},
        init=st.sampled_from(["dirac", "whitening", {"type": "whitening", "eps": 0.1}]),
    ),
    layer("linear", {"out_features": st.just("classes") | counts}, bias=st.booleans()),
)
layers = st.recursive(
    plain_layers,
    lambda inner: st.one_of(
        layer(
            "residual",
            {"layers": some(inner)},
            shortcut=st.lists(inner, max_size=2),
            drop_path=shares_below_1,
        ),
        layer(
            "branches",
            {"branches": st.lists(st.lists(inner, max_size=2), min_size=1)},
            combine=st.sampled_from(["concat", "sum", "product"]),
        ),
        layer("split", {"branches": st.lists(st.lists(inner, max_size=2), min_size=2)}),
        layer("from", {"layer": st.sampled_from(["a", "layers.3", "b_0.1-2"])}),
        layer("repeat", {"times": st.integers(1, 1000), "layers": some(inner)}),
    ),
    max_leaves=6,
)


adam = {"lr": not_below_0, "betas": st.tuples(shares_below_1, shares_below_1).map(list)}
optimizers = st.one_of(
    st.sampled_from(["sgd", "adam", "adamw"]),
    mapping({}, lr=not_below_0, weight_decay=not_below_0, momentum=st.floats(0.1, 0.9)),
    mapping(
        {"type": st.just("muon")},
        steps=st.integers(1, 20),
        adjust_lr=st.sampled_from(["original", "match_rms_adamw", None]),
        other=st.sampled_from(["sgd", "adam", {"type": "adamw", "lr": 0.5}]),
    ),
    mapping({}, norm_weight_decay=st.none() | not_below_0),
    mapping({"type": st.just("sgd"), "momentum": st.just(0)}),
    mapping({"type": st.sampled_from(["adam", "adamw"])}, eps=not_below_0, **adam),
)
schedulers = st.one_of(
    st.sampled_from(["constant", "cosine"]),
    mapping({"type": st.just("step"), "step_size": counts}, gamma=shares),
    mapping({"type": st.just("multistep"), "milestones": st.lists(counts)}),
    mapping({}, warmup_epochs=not_below_0, min_lr=not_below_0),
    mapping({"type": st.just("linear")}, start_factor=shares, end_factor=shares),
    mapping(
        {"type": st.just("plateau")},
        monitor=st.sampled_from(["val_loss", "top1", "val_macro_f1", "recall:a:b"]),
        factor=shares_below_1,
        patience=wholes,
        threshold_mode=st.sampled_from(["rel", "abs"]),
    ),
)
losses = st.one_of(
    st.sampled_from(["cross_entropy", "bce", "focal"]),
    mapping({"type": st.just("bce")}, target_threshold=shares_below_1 | st.none()),
    mapping({"type": st.just("focal")}, gamma=not_below_0),
)
scales = st.lists(st.floats(1e-300, 1), min_size=2, max_size=2).map(sorted)
ratios = st.lists(positive, min_size=2, max_size=2).map(sorted)
switches = st.booleans() | st.none()
augmentations = mapping(
    {},
    random_resized_crop=switches | scales | mapping({}, scale=scales, ratio=ratios),
    hflip=switches | shares | st.just("alternating"),
    vflip=switches | shares,
    pad_crop=counts | mapping({"padding": counts, "padding_mode": st.just("zeros")}),
    trivialaugment=switches,
    rotate=st.none() | st.floats(0, 180),
    color_jitter=mapping({"brightness": positive}, contrast=not_below_0),
    random_erase=switches
    | shares
    | mapping({}, p=shares, scale=scales, ratio=ratios, value=st.sampled_from(["mean", "random"]))
    | mapping({"size": counts}, p=shares),
    mixup=switches | positive | mapping({}, alpha=positive, p=shares),
    cutmix=switches | positive | mapping({}, alpha=positive, p=shares),
    tta=st.none() | st.sampled_from([False, "hflip", "multicrop", "tencrop"]),
)
documents = st.fixed_dictionaries(
    {
        "model": mapping({"layers": some(layers)}, init=st.sampled_from(["pytorch", "kaiming"])),
        "data": mapping(
            {"channels": st.just(1)},
            root=words.filter(lambda root: "\0" not in root),
            label_sep=words,
            val_split=st.floats(0, 0.5, exclude_max=True),
            test_split=st.floats(0, 0.5),
            group=st.none() | st.sampled_from(["(a)", "^([^/_]+)_"]),
            classes=st.none() | st.lists(words, min_size=2, max_size=4, unique=True),
            image_size=pairs,
            resize_mode=st.sampled_from(["crop", "squash", "letterbox"]),
            mean=st.just("auto") | st.floats(-1e9, 1e9),
            std=st.lists(positive, min_size=1, max_size=1),
            sampler=st.sampled_from(["shuffle", "balanced"]),
            on_corrupt=st.sampled_from(["skip", "error"]),
            cache=st.sampled_from(["auto", "ram", "disk", "none", None]),
        ),
        "augment": augmentations,
        "train": mapping(
            {"optimizer": optimizers, "scheduler": schedulers},
            epochs=wholes,
            batch_size=counts,
            accumulate=counts,
            seed=st.integers(0, 2**63 - 1),
            dtype=st.sampled_from(["float32", "float64"]),
            loss=losses,
            label_smoothing=shares,
            layer_decay=shares.filter(bool),
            lr_factors=st.dictionaries(words, not_below_0, max_size=2),
            weight_decay_factors=st.dictionaries(words, not_below_0, max_size=2),
            freeze=wholes
            | st.lists(words, max_size=2)
            | st.dictionaries(words, wholes, max_size=2),
            class_weights=st.sampled_from([None, "balanced"]) | st.lists(not_below_0),
            clip_grad_norm=st.none() | positive,
            early_stop=st.none() | counts,
            ema=st.none() | shares_below_1,
            precise_bn=st.sampled_from(["auto", True, False]),
            recompute=st.sampled_from(["auto", True, False]),
            tensorboard=st.booleans(),
            progressive_resizing=st.sampled_from([None, True, False, {"initial_scale": 0.25}]),
            checkpoint_every=st.none() | counts,
            on_nan=st.sampled_from(["stop", "rollback"]),
        ),
    }
)


@settings(max_examples=100)
@given(documents)
def test_any_config_comes_back(document: dict[str, Any]) -> None:
    config = validate_config(document, "a")
    text = config_text(config)
    again = validate_config(parse_yaml(text, "b"), "b")
    assert again == config
    assert config_text(again) == text
    # The checkpoint stores it as JSON.
    assert Config.model_validate(plain_config(config)) == config


@pytest.mark.parametrize(
    "name", ["1e3", "0E0", "none", "None", "no", "0o17", "010", "~", "a: b", "\x85", "\u2028", "ü"]
)
def test_class_names_stay_words(name: str) -> None:
    document = {"model": {"layers": ["relu"]}, "data": {"classes": [name, "other"]}}
    text = config_text(validate_config(document, "a"))
    again = validate_config(parse_yaml(text, "b"), "b")
    assert again.data.classes == (name, "other")


def test_from_file_to_file(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    first = tmp_path / "a.yaml"
    first.write_text("data: {root: photos}\nmodel: {layers: [relu, linear: classes]}")
    config = load_config(first)
    elsewhere = tmp_path / "run"
    elsewhere.mkdir()
    (elsewhere / "config.yaml").write_text(config_text(config), encoding="utf-8")
    again = load_config(elsewhere / "config.yaml")
    assert again == config
    assert again.data.root == str(tmp_path / "photos")


def test_the_text_names_every_key() -> None:
    text = config_text(validate_config({"model": {"layers": ["relu", {"maxpool": 2}]}}, "a"))
    document = parse_yaml(text, "a")
    for section in ("data", "model", "train"):
        fields = type(getattr(validate_config(document, "a"), section)).model_fields
        assert set(document[section]) == set(fields)
    assert document["model"]["layers"] == [
        {"relu": {}},
        {
            "maxpool": {
                "kernel_size": 2,
                "stride": None,
                "padding": 0,
                "ceil_mode": False,
                "dilation": 1,
            }
        },
    ]


def test_defaults_are_those_of_the_contract() -> None:
    config = validate_config({"model": {"layers": ["relu"]}}, "a")
    assert plain_config(config)["data"] == {
        "root": None,
        "columns": {"path": None, "label": None, "split": None, "group": None},
        "labels": "single",
        "label_sep": "|",
        "val_split": 0.1,
        "test_split": 0.0,
        "group": None,
        "fold": None,
        "classes": None,
        "image_size": 224,
        "channels": 3,
        "depth": 8,
        "resize_mode": "crop",
        "mean": "auto",
        "std": "auto",
        "on_corrupt": "skip",
        "sampler": "shuffle",
        "shards": 1,
        "cache": "auto",
    }
    assert plain_config(config)["train"] == {
        "weights": None,
        "epochs": 10,
        "batch_size": 64,
        "accumulate": 1,
        "seed": 0,
        "dtype": "float32",
        "optimizer": {
            "type": "sgd",
            "lr": 0.1,
            "momentum": 0.9,
            "nesterov": True,
            "weight_decay": 5e-4,
            "norm_weight_decay": None,
        },
        "lr_factors": {},
        "layer_decay": 1.0,
        "weight_decay_factors": {},
        "freeze": {},
        "head": None,
        "progressive_resizing": None,
        "scheduler": {"type": "cosine", "warmup_epochs": 1.0, "min_lr": 0.0},
        "loss": {"type": "cross_entropy"},
        "label_smoothing": 0.0,
        "class_weights": None,
        "clip_grad_norm": None,
        "ema": None,
        "lookahead": None,
        "monitor": "top1",
        "keep": "best",
        "early_stop": None,
        "patience": None,
        "precise_bn": "auto",
        "recompute": "auto",
        "processes": 1,
        "checkpoint_every": None,
        "on_nan": "stop",
        "tensorboard": False,
    }


@pytest.mark.parametrize(
    ("kind", "required", "arguments"),
    [
        (
            "conv",
            {"out_channels": 8, "kernel_size": 3},
            {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, "bias": True},
        ),
        ("batchnorm", {}, {"eps": 1e-5, "momentum": 0.1}),
        ("groupnorm", {"num_groups": 2}, {"eps": 1e-5}),
        ("leaky_relu", {}, {"negative_slope": 0.01}),
        (
            "maxpool",
            {"kernel_size": [2, 3]},
            {"stride": (2, 3), "padding": (0, 0), "ceil_mode": False, "dilation": (1, 1)},
        ),
        ("avgpool", {"kernel_size": 2}, {"stride": (2, 2), "count_include_pad": True}),
        ("dropout", {}, {"p": 0.5}),
        ("elu", {}, {"alpha": 1.0}),
        ("prelu", {}, {"num_parameters": 1}),
        (
            "squeeze_excite",
            {"squeeze_channels": 4},
            {"activation": "relu", "gate": "sigmoid"},
        ),
        ("lrn", {"size": 5}, {"alpha": 1e-4, "beta": 0.75, "k": 1.0}),
        ("linear", {"out_features": 3}, {"bias": True}),
        *[(kind, {}, {}) for kind in PLAIN],
    ],
)
def test_layers_have_torch_defaults(
    kind: str, required: dict[str, Any], arguments: dict[str, Any]
) -> None:
    config = validate_config({"model": {"layers": [{kind: required}]}}, "a")
    found = config.model.layers[0].arguments()
    assert arguments.items() <= found.items()
    assert type(config.model.layers[0]) is LAYER_KINDS[kind]
