"""Keys and options of other programs: Ultralytics, timm, Keras and PyTorch Lightning."""

from __future__ import annotations

OPTIMIZER = "train.optimizer"
KEYS = {
    "aa": "augment.trivialaugment",
    "auto_augment": "augment.trivialaugment",
    "batch": "train.batch_size",
    "best_metric": "train.monitor",
    "clip_grad": "train.clip_grad_norm",
    "clipnorm": "train.clip_grad_norm",
    "crop_pct": "data.resize_mode",
    "cutout": "augment.random_erase",
    "drop_path": "model.network",
    "early_stopping": "train.early_stop",
    "erasing": "augment.random_erase",
    "eval_metric": "train.monitor",
    "fliplr": "augment.hflip",
    "flipud": "augment.vflip",
    "grad_accum_steps": "train.accumulate",
    "gradient_clip_val": "train.clip_grad_norm",
    "image_dir": "data.root",
    "image_size": "data.image_size",
    "img_size": "data.image_size",
    "imgsz": "data.image_size",
    "in_chans": "data.channels",
    "initial_checkpoint": "train.weights",
    "input_size": "data.image_size",
    "learning_rate": f"{OPTIMIZER}.lr",
    "lr": f"{OPTIMIZER}.lr",
    "lr0": f"{OPTIMIZER}.lr",
    "max_epochs": "train.epochs",
    "min_lr": "train.scheduler.min_lr",
    "model": "model.network",
    "model_ema": "train.ema",
    "model_ema_decay": "train.ema",
    "momentum": f"{OPTIMIZER}.momentum",
    "nesterov": f"{OPTIMIZER}.nesterov",
    "num_epochs": "train.epochs",
    "opt": OPTIMIZER,
    "patience": "train.early_stop",
    "precision": "train.dtype",
    "pretrained": "train.weights",
    "reprob": "augment.random_erase",
    "restore_best_weights": "train.keep",
    "save_best_only": "train.keep",
    "sched": "train.scheduler",
    "smoothing": "train.label_smoothing",
    "validation_split": "data.val_split",
    "warmup_epochs": "train.scheduler.warmup_epochs",
    "weight_decay": f"{OPTIMIZER}.weight_decay",
}
NEEDLESS = {
    "amp": "Computation is float32; train.dtype changes it.",
    "device": "Leave it out: the CPU computes.",
    "devices": "Leave it out: the CPU computes; --threads limits its cores.",
    "gpus": "Leave it out: the CPU computes; --threads limits its cores.",
    "nc": "Leave it out: the classes are counted in data.root.",
    "num_classes": "Leave it out: the classes are counted in data.root.",
    "num_workers": "Give --threads N instead.",
    "pin_memory": "Leave it out: the CPU computes.",
    "project": "Give --out DIR instead.",
    "resume": "Give --resume instead.",
    "workers": "Give --threads N instead.",
}


NEEDLESS_LAYERS = dict.fromkeys(
    ("softmax", "log_softmax", "logsoftmax"), "Leave it out: the network ends in scores."
)

OPTIONS = {
    "--batch": ["--batch-size"],
    "--checkpoint": ["--ckpt"],
    "--conf": ["--min-prob"],
    "--learning-rate": ["--lr"],
    "--load": ["--ckpt", "--weights"],
    "--model": ["--ckpt"],
    "--model-path": ["--ckpt"],
    "--name": ["--out"],
    "--pretrained": ["--weights", "--from"],
    "--project": ["--out"],
    "--save-dir": ["--output"],
    "--top-k": ["--topk"],
    "--weights": ["--ckpt"],
    "--workers": ["--threads"],
}
"""Options of other programs, with the options that do the same here; a command has at most one of
them.
"""

PLACES = {
    "--cfg": ["CONFIG"],
    "--checkpoint": ["CKPT", "RUN"],
    "--ckpt": ["CKPT", "RUN"],
    "--config": ["CONFIG"],
    "--data": ["DIR"],
    "--image": ["IMAGE", "SOURCE"],
    "--images": ["IMAGE", "SOURCE", "DIR"],
    "--model": ["CKPT", "RUN"],
    "--name": ["NAME"],
    "--run": ["RUN"],
    "--source": ["SOURCE", "IMAGE"],
    "--weights": ["WEIGHTS", "CKPT"],
}
"""Options of other programs and commands, with the arguments that take their values here."""


def layer_hint(kind: str) -> str:
    """Return a hint for a layer of other programs that is not needed here, after a space, or ""."""
    hint = NEEDLESS_LAYERS.get(kind.lower())
    return f" {hint}" if hint else ""


def peer_hint(key: str) -> str:
    """Return a hint with the key to write instead, after a space; "" if the key is unknown.

    Args:
        key: the other program's key, with or without a section.
    """
    word = key.rpartition(".")[2].replace("-", "_")
    if word in NEEDLESS:
        return f" {NEEDLESS[word]}"
    place = KEYS.get(word, key)
    return f" Did you mean '{place}'?" if place != key else ""
