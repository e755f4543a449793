"""The proposed config as a YAML file with comments."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

from cnn_cli.errors import listed, printable
from cnn_cli.proposal.choose import (
    Candidate,
    Choice,
    Tuning,
    aspect,
    is_squashed,
    is_uneven,
)
from cnn_cli.proposal.survey import Survey

DEPTH = 2  # residual blocks per stage
KEEP = "  keep: last   # as good as the best one where lr ends at 0; early_stop needs: best"


def config_yaml(
    survey: Survey, choice: Choice, root: str, command: str, head: Iterable[str]
) -> str:
    """Return the text of the config file.

    Args:
        survey: the survey of the folder.
        choice: the choice for it.
        root: the folder, relative to the file.
        command: the command that trains with it.
        head: lines on what was found and chosen.
    """
    lines = [
        f"# {printable(line)}".rstrip() for line in (*head, "", f"    {command}", "", *_hints())
    ]
    sections = (
        _data(survey, choice, root),
        _augment(survey, choice),
        _model(survey, choice),
        _train(choice),
    )
    return "\n".join([*lines, *(line for section in sections for line in ("", *section)), ""])


def _hints() -> list[str]:
    return ["Any key can be changed here, or on the command line: train.epochs=5"]


def _data(survey: Survey, choice: Choice, root: str) -> list[str]:
    height, width = choice.network.size
    lines = [
        "data:",
        f"  root: {_quoted(root)}{'' if os.path.isabs(root) else '   # relative to this file'}",
    ]
    if survey.several:
        lines.append("  labels: multiple   # an image may have several, as cat|dog")
    if survey.val_split is not None:
        line = f"  val_split: {survey.val_split:g}"
        if survey.val is None:
            lines.append(f"{line}   # too few images: there is no validation")
        else:
            lines.append(f"{line}   # held back for validation: {survey.val_images:,} images")
            lines += _without_validation(survey)
    size = f"{height}" if height == width else f"[{height}, {width}]   # height and width"
    lines.append(f"  image_size: {size}")
    comment = {1: "   # grayscale", 3: ""}.get(survey.bands, "   # bands of each image")
    lines.append(f"  channels: {survey.bands}{comment}")
    if survey.depth != 8:
        numbers = "16-bit numbers" if survey.depth == 16 else "real numbers"
        lines.append(f"  depth: {survey.depth}   # {numbers} are kept as they are")
    if is_squashed(survey):
        lines.append("  resize_mode: squash   # long and narrow: cropping would lose most of them")
    if is_uneven(survey):
        lines += [
            f"  # The largest class has {max(survey.train):,} images, the smallest"
            f" {min(survey.train):,}. An epoch takes equally many of each,",
            "  # so that the network does not just predict the large one. Without this line, or",
            "  # with train.class_weights: balanced instead, it takes each image once.",
            "  sampler: balanced",
        ]
    return lines


def _without_validation(survey: Survey) -> list[str]:
    names = [
        name for name, count in zip(survey.classes, survey.val or (), strict=True) if not count
    ]
    if not names:
        return []
    return [
        f"  # Without validation images: class{'es' * (len(names) > 1)} {printable(listed(names))}."
    ]


def _augment(survey: Survey, choice: Choice) -> list[str]:
    if choice.tuning is not None and not choice.tuning.frozen:
        return ["augment: {}   # so that the output of frozen layers is computed once"]
    few = f"strong, because {survey.train_images:,} images are few"
    lines = [f"augment:{f'   # {few}' if choice.strong else ''}"]
    photographs = choice.network.kind != "plain"
    if photographs:
        ratio = aspect(survey)
        scale = "[0.3, 1.0]" if choice.strong else "[0.5, 1.0]"
        sides = "" if ratio == 1 else f", ratio: [{0.75 * ratio:.3g}, {ratio / 0.75:.3g}]"
        lines.append(
            f"  random_resized_crop: {{scale: {scale}{sides}}}   # a random part of the image"
        )
    if survey.gray:
        lines += [
            "  # Enable this if a mirrored image means the same (not for letters or digits):",
            "  # hflip: 0.5",
        ]
    else:
        lines.append("  hflip: 0.5   # mirror; remove it if left and right matter, as in text")
    if not photographs:
        lines.append(
            f"  pad_crop: {max(1, min(choice.network.size) // 12)}   # shift by a few pixels"
        )
    if choice.strong:
        if photographs and survey.is_plain:
            lines.append(
                "  trivialaugment: true   # one of 14 operations: color, contrast, rotation, ..."
            )
        lines.append("  random_erase: {p: 0.25}   # paint over a rectangle")
        if photographs:
            lines.append("  cutmix: {alpha: 1.0, p: 0.3}   # part of another image, with its label")
    lines.append("  # `cnn data preview` with this file's name draws the result.")
    return lines


def _model(survey: Survey, choice: Choice) -> list[str]:
    network = choice.network
    if choice.tuning is not None:
        return [f"model: {{network: {choice.tuning.weights}}}   # cnn networks lists others"]
    layers = _plain(network) if network.kind == "plain" else _residual(network)
    return [
        "model:",
        "  init: kaiming",
        "  layers:",
        *(f"    {line}" for line in layers),
        "    - global_avgpool   # one number per channel, for any image size",
        f"    - linear: classes   # {len(survey.classes)} scores",
    ]


def _plain(network: Candidate) -> list[str]:
    """Return the layers of `small.yaml`."""
    lines = []
    height, width = network.size
    for stage, channels in enumerate(network.widths):
        for _ in range(2 if stage < len(network.widths) - 1 else 1):
            lines += _conv(channels)
            lines.append("- relu")
        if stage < len(network.widths) - 1 and min(height, width) >= 4:
            before = f"{height}×{width}"
            height, width = height // 2, width // 2
            lines.append(f"- maxpool: 2   # {before} -> {height}×{width}")
    return lines


def _residual(network: Candidate) -> list[str]:
    """Return the layers of `animals.yaml`."""
    first, *others = network.widths
    lines = [*_conv(first, network.stem_stride), "- relu", *_conv(first), "- relu", "- maxpool: 2"]
    block = [*_block(first), "- relu"]
    lines += ["- repeat:", f"    times: {DEPTH}", "    layers:", *(f"      {x}" for x in block)]
    for channels in others:
        lines += [*_block(channels, 2), "- relu"]
        if channels != others[-1]:
            lines += [*_block(channels), "- relu"]
    return lines


def _block(channels: int, stride: int = 1) -> list[str]:
    inner = [*_conv(channels, stride), "- relu", *_conv(channels)]
    return ["- residual:", "    layers:", *(f"      {line}" for line in inner)]


def _conv(channels: int, stride: int = 1) -> list[str]:
    step = "" if stride == 1 else f"stride: {stride}, "
    arguments = f"out_channels: {channels}, kernel_size: 3, {step}padding: 1, bias: false"
    return [f"- conv: {{{arguments}}}", "- batchnorm"]


def _train(choice: Choice) -> list[str]:
    if choice.tuning is not None:
        return _tune(choice, choice.tuning)
    residual = choice.network.kind == "residual"
    rate = (0.08 if residual else 0.1) * choice.batch_size / 64
    warm_up = 3 if choice.epochs >= 30 else 1
    why = "what the budget allows" if choice.limited else "more would hardly teach anything"
    if not choice.fits:
        why = "more than the budget allows, but fewer would be useless"
    lines = [
        "train:",
        f"  epochs: {choice.epochs}   # {why}",
        f"  batch_size: {choice.batch_size}",
        "  optimizer:",
        "    type: muon   # for the filters of convolutions: K. Jordan et al. 2024",
        f"    lr: {rate:.3g}",
        "    momentum: 0.9",
        "    normalize_weights: true",
        "    # For all other parameters.",
        f"    other: {{type: sgd, lr: {rate:.3g}, momentum: 0.9, nesterov: true, "
        "weight_decay: 5.0e-4}",
        f"  scheduler: {{type: cosine, warmup_epochs: {warm_up}}}   # up to lr, then down to 0",
        KEEP,
    ]
    if choice.strong:
        lines.append("  label_smoothing: 0.1")
    return lines


def _tune(choice: Choice, tuning: Tuning) -> list[str]:
    lines = [
        "train:",
        f"  weights: {tuning.weights}   # trained on a million photographs of 1,000 kinds",
        f"  epochs: {choice.epochs}{'   # what the budget allows' if choice.limited else ''}",
        f"  batch_size: {choice.batch_size}",
        f"  head: {{epochs: {tuning.head_epochs}, lr: 0.05}}   # the last layer, alone",
    ]
    if tuning.frozen:
        rate = "lr: 0.004, momentum: 0.9, nesterov: true, weight_decay: 1.0e-5"
        lines += [
            f"  freeze: {tuning.frozen}   # layers that stay as they are; the upper ones follow:",
            f"  optimizer: {{type: sgd, {rate}}}",
            "  scheduler: {type: cosine, warmup_epochs: 0.5}   # up to lr, then down to 0",
        ]
    return [*lines, KEEP, "  precise_bn: false   # the statistics are those of the weights"]


def _quoted(text: str) -> str:
    """Return a double-quoted YAML text, which is also valid JSON.

    It is readable where possible; bytes of a name that are not text are escaped.
    """
    return json.dumps(text, ensure_ascii=not text.isprintable())
