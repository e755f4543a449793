"""The section `augment`: its forms, defaults and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cnn_cli.config import config_text, load_config, plain_config
from cnn_cli.errors import ConfigError

SHARE = "must be a number from 0 to 1"
TTA = "must be none, hflip, multicrop or tencrop"
SCALE = "must be two numbers above 0, up to 1, the smaller one first."
CROP = {"scale": [0.08, 1.0], "ratio": [3 / 4, 4 / 3]}
ERASE = {"p": 0.5, "scale": [0.02, 0.33], "ratio": [0.3, 3.3], "size": None, "value": "mean"}
JITTER = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def load(path: Path, section: str, *overrides: str, data: str = "") -> dict[str, Any]:
    """Return the active techniques, after a round trip through the saved config."""
    file = path / "a.yaml"
    file.write_text(f"model: {{layers: [relu]}}\ndata: {{{data}}}\naugment: {section}\n")
    config = load_config(file, overrides)
    (path / "again.yaml").write_text(config_text(config))
    assert load_config(path / "again.yaml") == config
    return {key: value for key, value in plain_config(config)["augment"].items() if value}


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("", {}),
        ("{}", {}),
        ("{hflip: 0.5, vflip: 0.1}", {"hflip": 0.5, "vflip": 0.1}),
        ("{hflip: alternating}", {"hflip": "alternating"}),
        ("{tta: multicrop}", {"tta": "multicrop"}),
        ("{tta: false}", {}),
        ("{hflip: true, vflip: false, rotate: false}", {"hflip": 0.5}),
        ("{hflip: none, mixup: null, cutmix: false, trivialaugment: false}", {}),
        ("{random_resized_crop: true}", {"random_resized_crop": CROP}),
        (
            "{random_resized_crop: [0.35, 1]}",
            {"random_resized_crop": CROP | {"scale": [0.35, 1.0]}},
        ),
        (
            "{random_resized_crop: {ratio: [1, 1]}}",
            {"random_resized_crop": CROP | {"ratio": [1, 1]}},
        ),
        ("{pad_crop: 4}", {"pad_crop": {"padding": 4, "padding_mode": "zeros"}}),
        (
            "{pad_crop: {padding: 2, padding_mode: reflect}}",
            {"pad_crop": {"padding": 2, "padding_mode": "reflect"}},
        ),
        ("{rotate: 15, trivialaugment: true}", {"rotate": 15.0, "trivialaugment": True}),
        (
            "{color_jitter: 0.4}",
            {"color_jitter": JITTER | {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4}},
        ),
        ("{color_jitter: {hue: 0.1}}", {"color_jitter": JITTER | {"hue": 0.1}}),
        ("{random_erase: true}", {"random_erase": ERASE}),
        ("{random_erase: 0.25}", {"random_erase": ERASE | {"p": 0.25}}),
        (
            "{random_erase: {size: 8}}",
            {"random_erase": ERASE | {"p": 1.0, "scale": None, "ratio": None, "size": 8}},
        ),
        (
            "{random_erase: {size: 8, p: 0.5, value: random}}",
            {
                "random_erase": {
                    "p": 0.5,
                    "scale": None,
                    "ratio": None,
                    "size": 8,
                    "value": "random",
                }
            },
        ),
        (
            "{mixup: 0.2, cutmix: true}",
            {"mixup": {"alpha": 0.2, "p": 1.0}, "cutmix": {"alpha": 1.0, "p": 1.0}},
        ),
        ("{mixup: {p: 0.5}}", {"mixup": {"alpha": 1.0, "p": 0.5}}),
    ],
)
def test_ways_of_writing(tmp_path: Path, section: str, expected: dict[str, Any]) -> None:
    assert load(tmp_path, section) == expected


@pytest.mark.parametrize(
    ("section", "override", "expected"),
    [
        ("{}", "augment.hflip=0.5", {"hflip": 0.5}),
        ("{hflip: 0.5}", "augment.hflip=none", {}),
        ("{tta: hflip}", "augment.tta=none", {}),
        ("{}", "augment.tta=tencrop", {"tta": "tencrop"}),
        ("{hflip: 0.5}", "augment={}", {}),
        ("{}", "augment.mixup.alpha=0.3", {"mixup": {"alpha": 0.3, "p": 1.0}}),
        ("{mixup: 0.2}", "augment.mixup.p=0.5", {"mixup": {"alpha": 0.2, "p": 0.5}}),
        ("{mixup: true}", "augment.mixup.p=0.5", {"mixup": {"alpha": 1.0, "p": 0.5}}),
        (
            "{color_jitter: 0.4}",
            "augment.color_jitter.hue=0.1",
            {"color_jitter": dict.fromkeys(JITTER, 0.4) | {"hue": 0.1}},
        ),
    ],
)
def test_overrides(tmp_path: Path, section: str, override: str, expected: dict[str, Any]) -> None:
    assert load(tmp_path, section, override) == expected


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("3", "augment: must be a mapping of keys to values. Got 3."),
        ("{mixpu: 1}", "augment.mixpu: unknown key. Did you mean 'mixup'?"),
        ("{mixup: {alhpa: 1}}", "augment.mixup.alhpa: unknown key. Did you mean 'alpha'?"),
        (
            "{pad_crop: {pading: 1}}",
            "augment.pad_crop.pading: unknown key. Did you mean 'padding'?",
        ),
        ("{hflip: 2}", f"augment.hflip: {SHARE}, or alternating. Got 2."),
        ("{hflip: alternate}", f"augment.hflip: {SHARE}, or alternating. Got 'alternate'."),
        ("{hflip: {p: 1}}", f"augment.hflip: {SHARE}, or alternating. Got a mapping."),
        ("{vflip: -1}", f"augment.vflip: {SHARE}. Got -1."),
        ("{rotate: 181}", "augment.rotate: must be a number of degrees from 0 to 180. Got 181."),
        ("{trivialaugment: 3}", "augment.trivialaugment: must be true or false. Got 3."),
        ("{pad_crop: true}", "augment.pad_crop.padding: is required."),
        ("{pad_crop: 0}", "augment.pad_crop.padding: must be a whole number above 0. Got 0."),
        (
            "{pad_crop: {padding: 1, padding_mode: edge}}",
            "augment.pad_crop.padding_mode: must be zeros or reflect. Got 'edge'.",
        ),
        (
            "{pad_crop: {padding: 224, padding_mode: reflect}}",
            "augment.pad_crop: padding must be below data.image_size to be reflected.",
        ),
        (
            "{random_resized_crop: [1, 0.1]}",
            f"augment.random_resized_crop.scale: {SCALE} Got [1, 0.1].",
        ),
        ("{random_resized_crop: 0.5}", f"augment.random_resized_crop.scale: {SCALE} Got 0.5."),
        (
            "{random_resized_crop: {ratio: [0, 1]}}",
            "augment.random_resized_crop.ratio: must be two numbers above 0, the smaller one first."
            " Got [0, 1].",
        ),
        (
            "{color_jitter: 0}",
            "augment.color_jitter: must have a brightness, contrast, saturation or hue above 0."
            " Got 0.",
        ),
        (
            "{color_jitter: {hue: 0.6}}",
            "augment.color_jitter.hue: must be a number from 0 to 0.5. Got 0.6.",
        ),
        ("{random_erase: 1.5}", f"augment.random_erase.p: {SHARE}. Got 1.5."),
        (
            "{random_erase: {size: 8, scale: [0.1, 0.2]}}",
            "augment.random_erase: size makes a square: it leaves no room for scale and ratio.",
        ),
        (
            "{random_erase: {scale: none}}",
            "augment.random_erase: must have a scale and a ratio, or a size.",
        ),
        (
            "{random_erase: {value: black}}",
            "augment.random_erase.value: must be mean or random. Got 'black'.",
        ),
        ("{mixup: 0}", "augment.mixup.alpha: must be a number above 0. Got 0."),
        ("{tta: vflip}", f"augment.tta: {TTA}. Got 'vflip'."),
        ("{tta: true}", f"augment.tta: {TTA}. Got true."),
        ("{tta: [hflip]}", f"augment.tta: {TTA}. Got ['hflip']."),
        ("{tta: {kind: hflip}}", f"augment.tta: {TTA}. Got a mapping."),
        ("{cutmix: {p: 2}}", f"augment.cutmix.p: {SHARE}. Got 2."),
    ],
)
def test_errors(tmp_path: Path, section: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, section)
    assert caught.value.line() == f"{tmp_path}/a.yaml: {expected}"


def test_gray_images_have_no_color_to_change(tmp_path: Path) -> None:
    jitter = "{color_jitter: {brightness: 0.4, contrast: 0.4}}"
    assert "color_jitter" in load(tmp_path, jitter, data="channels: 1")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "{color_jitter: 0.4}", data="channels: 1")
    rule = "augment.color_jitter: saturation and hue need data.channels 3"
    assert caught.value.line() == f"{tmp_path}/a.yaml: {rule}."
