"""The arguments of Keras' layers: each is read, does not change scores, or is refused."""

from __future__ import annotations

from cnn_cli.interop.readers.arguments import IDLE, READ, Arguments, Only, Table

# They change images in training only.
AUGMENTATION = (
    *("RandomFlip", "RandomRotation", "RandomZoom", "RandomContrast", "RandomTranslation"),
    *("RandomBrightness", "RandomHue", "RandomSaturation", "RandomShear", "RandomErasing"),
)
# Arguments of every layer, including initializers, regularizers and constraints.
COMMON: Arguments = {
    "name": READ,
    "trainable": IDLE,
    "dtype": IDLE,
    "batch_input_shape": IDLE,
    "batch_shape": IDLE,
    "input_dtype": IDLE,
    "build_input_shape": IDLE,
    "synchronized": IDLE,
    "quantization_config": Only(None),
    "data_format": Only("channels_last", None),
}
TRAINING = ("_initializer", "_regularizer", "_constraint", "_trainable")
_WINDOW: Arguments = {"padding": READ, "strides": READ}
_CONV: Arguments = {
    **_WINDOW,
    "kernel_size": READ,
    "dilation_rate": READ,
    "activation": READ,
    "use_bias": READ,
    "lora_rank": Only(None),
    "lora_alpha": Only(None),
}
_POOL: Arguments = {**_WINDOW, "pool_size": READ}
_LAST = Only(-1, 3, (-1,), (3,))
_CHANNELS = Only(-1, 3, 1, (-1,), (3,), (1,))  # 1 after a mean
_NOISE: Arguments = {"seed": IDLE, "noise_shape": IDLE}
_AUGMENTATION: Arguments = {
    "factor": IDLE,
    "height_factor": IDLE,
    "width_factor": IDLE,
    "x_factor": IDLE,
    "y_factor": IDLE,
    "mode": IDLE,
    "fill_mode": IDLE,
    "fill_value": IDLE,
    "interpolation": IDLE,
    "value_range": IDLE,
    "scale": IDLE,
    "seed": IDLE,
}
ARGUMENTS: Table = {
    "Conv2D": {**_CONV, "filters": READ, "groups": READ},
    "DepthwiseConv2D": {**_CONV, "depth_multiplier": READ, "filters": IDLE, "groups": IDLE},
    "SeparableConv2D": {
        **_CONV,
        "filters": READ,
        "depth_multiplier": READ,
        "groups": Only(1),
        "pointwise_initializer": IDLE,
    },
    "BatchNormalization": {
        "axis": _CHANNELS,
        "epsilon": READ,
        "momentum": IDLE,
        "center": READ,
        "scale": READ,
        "renorm": Only(False),
        "renorm_clipping": IDLE,
        "renorm_momentum": IDLE,
        "fused": IDLE,
        "virtual_batch_size": IDLE,
        "adjustment": Only(None),
    },
    "LayerNormalization": {
        "axis": _CHANNELS,
        "epsilon": READ,
        "center": READ,
        "scale": READ,
        "rms_scaling": Only(False),
    },
    "GroupNormalization": {
        "axis": _LAST,
        "epsilon": READ,
        "groups": READ,
        "center": READ,
        "scale": READ,
    },
    "LayerScale": {"init_values": IDLE, "projection_dim": IDLE},
    "Rescaling": {"scale": READ, "offset": READ},
    "Normalization": {
        "axis": _LAST,
        "mean": READ,
        "variance": READ,
        "invert": Only(False),
    },
    "Dense": {
        "units": READ,
        "activation": READ,
        "use_bias": READ,
        "lora_rank": Only(None),
        "lora_alpha": Only(None),
    },
    "MaxPooling2D": _POOL,
    "AveragePooling2D": _POOL,
    "ZeroPadding2D": {"padding": READ},
    "Cropping2D": {"cropping": READ},
    "UpSampling2D": {"size": READ, "interpolation": Only("nearest")},
    "Activation": {"activation": READ},
    "ReLU": {"max_value": READ, "negative_slope": READ, "threshold": Only(None, 0)},
    "LeakyReLU": {"negative_slope": READ, "alpha": READ},
    "ELU": {"alpha": READ},
    "PReLU": {"shared_axes": READ},
    "Dropout": {"rate": IDLE, **_NOISE},
    "SpatialDropout2D": {"rate": IDLE, **_NOISE},
    "GaussianDropout": {"rate": IDLE, **_NOISE},
    "AlphaDropout": {"rate": IDLE, **_NOISE},
    "GaussianNoise": {"stddev": IDLE, **_NOISE},
    "StochasticDepth": {"drop_path_rate": IDLE},
    "ActivityRegularization": {"l1": IDLE, "l2": IDLE},
    **dict.fromkeys(AUGMENTATION, _AUGMENTATION),
    "Flatten": {},
    "Reshape": {"target_shape": READ},
    "GlobalAveragePooling2D": {"keepdims": IDLE},
    "GlobalMaxPooling2D": {"keepdims": IDLE},
    "Add": {},
    "Average": {},
    "Concatenate": {"axis": _CHANNELS},
    "Multiply": {},
    "CustomScaleLayer": {"scale": READ},  # InceptionResNetV2's: the first input and scale times
    "Softmax": {"axis": Only(-1)},
}
