"""Write the Keras files beside it: `python tests/interop/data/make_keras.py`, with Keras and
PyTorch installed.

`keras.npz` contains images and Keras' scores for them, before the last softmax. The test suite
reads them and needs no Keras.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

os.environ["KERAS_BACKEND"] = "torch"
import keras
import numpy as np
from keras import layers

HERE = Path(__file__).parent
SIZE = (15, 14, 3)
RNG = np.random.default_rng(0)


def mobile() -> Any:
    """Blocks of MobileNetV3."""
    image = keras.Input(SIZE)
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.SeparableConv2D(6, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(scale=False)(x)
    x = before = layers.Activation("hard_silu")(x)
    x = layers.ZeroPadding2D(((0, 1), (1, 1)))(x)
    x = layers.DepthwiseConv2D(3, padding="valid", activation="relu6")(x)
    x = layers.ZeroPadding2D(((1, 0), (0, 0)))(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(3, 1, activation="relu")(gate)
    gate = layers.Conv2D(6, 1)(gate)
    gate = layers.ReLU(6.0)(gate + 3.0) * (1 / 6)
    x = layers.Multiply()([x, gate])
    x = layers.Add()([before, x])
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Reshape((1, 1, 6))(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Conv2D(4, 1)(x)
    return keras.Model(image, layers.Softmax()(layers.Flatten()(x)))


def nested() -> Any:
    """Another network's body in a list of layers, as in fine-tuning."""
    image = keras.Input(SIZE)
    x = layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[3600.0, 3000.0, 2500.0])(image)
    x = layers.Conv2D(4, 3, activation="leaky_relu")(x)
    x = layers.BatchNormalization()(x)
    body = keras.Model(image, layers.MaxPooling2D()(x), name="body")
    augmentation = keras.Sequential([layers.RandomFlip("horizontal")], name="augmentation")
    head = [layers.GlobalMaxPooling2D(), layers.Dense(4, activation="softmax")]
    return keras.Sequential([keras.Input(SIZE), augmentation, body, *head])


def shared() -> Any:
    """Paths that meet repeatedly, which need `from`."""
    image = keras.Input(SIZE)
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(4, 3, strides=2)(x)
    a = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    b = layers.Conv2D(4, 3, padding="same", activation="tanh")(a)
    c = layers.Add()([layers.Conv2D(4, 1)(x), b])
    d = layers.Concatenate()([a, c, b])
    e = layers.Multiply()([d, layers.Conv2D(12, 1, activation="sigmoid")(c)])
    return keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(e)))


def flat() -> Any:
    """Pools with padding on one side, and a map that is flattened before layers with arrays."""
    image = keras.Input(SIZE)
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(8, 3, strides=2, padding="same", groups=1)(x)
    x = layers.PReLU(shared_axes=[1, 2])(x)
    x = layers.GroupNormalization(4)(x)
    x = layers.MaxPooling2D(4, strides=3, padding="same")(x)
    x = layers.ZeroPadding2D(((1, 2), (0, 1)))(layers.UpSampling2D(2)(x))
    x = layers.MaxPooling2D(2)(x)
    x = layers.Average()([x, layers.Dense(8)(x) * 2.0 - 0.5])
    x = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    x = layers.BatchNormalization()(layers.Flatten()(x))
    x = layers.ELU(alpha=0.5)(layers.Dense(6)(x))
    return keras.Model(image, layers.Dense(4, activation="softmax")(layers.LayerNormalization()(x)))


def compress(path: Path) -> None:
    """Rewrite an archive with compression."""
    with ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, each in content.items():
            archive.writestr(ZipInfo(name), each, ZIP_DEFLATED)


def main() -> None:
    images = RNG.integers(0, 256, (3, *SIZE)).astype(np.float32)
    found: dict[str, Any] = {"images": images.astype(np.uint8)}
    for make in (mobile, nested, shared, flat):
        keras.utils.set_random_seed(1)
        keras.backend.clear_session()
        network, name = make(), make.__name__
        for variable in network.weights:  # statistics and scales other than 0 and 1
            if variable.path.rpartition("/")[2] not in ("kernel", "seed_generator_state"):
                low = 0.5 if "var" in variable.path or "gamma" in variable.path else -0.5
                if variable.dtype == "float32":
                    variable.assign(RNG.uniform(low, low + 1, variable.shape))
        network.save(HERE / f"{name}.keras")
        compress(HERE / f"{name}.keras")
        if make in (mobile, nested):
            network.save(HERE / f"{name}.h5")
        last = network.layers[-1]
        if isinstance(last, layers.Softmax):
            scores = keras.Model(network.inputs, last.input)(images, training=False)
        else:
            last.activation = keras.activations.linear
            scores = network(images, training=False)
        found[name] = keras.ops.convert_to_numpy(scores)
    np.savez_compressed(HERE / "keras.npz", **found)


if __name__ == "__main__":
    main()
