"""A typical onnxruntime and Pillow script for classifying images; `predict.py` times it.

Usage: onnx_predict.py MODEL.onnx IMAGE|FOLDER
"""

import os
import sys

import numpy as np
import onnxruntime
from PIL import Image

CLASSES = ("apple", "pear", "quince")
SIDE, BATCH = 224, 32


def main(model: str, path: str) -> None:
    session = onnxruntime.InferenceSession(model)
    if not os.path.isdir(path):
        answer(session, [path], [load(path)])
        return
    from concurrent.futures import ThreadPoolExecutor

    paths = sorted(os.path.join(path, name) for name in os.listdir(path))
    parts = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
    with ThreadPoolExecutor(2) as pool:  # decodes the next batch during the computation of one
        ahead = [pool.submit(load, each) for each in parts[0]]
        for part, following in zip(parts, [*parts[1:], []], strict=True):
            images = [each.result() for each in ahead]
            ahead = [pool.submit(load, each) for each in following]
            answer(session, part, images)


def load(path: str) -> np.ndarray:
    image = Image.open(path).convert("RGB")
    short = min(image.size)
    width, height = (SIDE * side // short for side in image.size)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    image = image.crop((left, top, left + SIDE, top + SIDE))
    x = np.asarray(image, np.float32).transpose(2, 0, 1)
    return (x / 255 - 0.5) / 0.25


def answer(
    session: onnxruntime.InferenceSession, paths: list[str], images: list[np.ndarray]
) -> None:
    (logits,) = session.run(None, {session.get_inputs()[0].name: np.stack(images)})
    for path, row in zip(paths, logits, strict=True):
        scores = np.exp(row - row.max())
        best = int(scores.argmax())
        print(f"{path}\t{CLASSES[best]}\t{scores[best] / scores.sum():.6f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
