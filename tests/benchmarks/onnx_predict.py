"""The ten lines that somebody with onnxruntime would write; run by `predict.py`."""

import sys

import numpy as np
import onnxruntime
from PIL import Image

CLASSES = ("apple", "pear", "quince")
SIDE = 224


def main(model: str, path: str) -> None:
    session = onnxruntime.InferenceSession(model)
    image = Image.open(path).convert("RGB")
    short = min(image.size)
    width, height = (SIDE * side // short for side in image.size)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    image = image.crop((left, top, left + SIDE, top + SIDE))
    x = np.asarray(image, np.float32).transpose(2, 0, 1)[None]
    (logits,) = session.run(None, {session.get_inputs()[0].name: (x / 255 - 0.5) / 0.25})
    scores = np.exp(logits[0] - logits[0].max())
    best = int(scores.argmax())
    print(f"{path}\t{CLASSES[best]}\t{scores[best] / scores.sum():.6f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
