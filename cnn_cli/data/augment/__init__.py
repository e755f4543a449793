"""Random augmentation of training images, a function of (seed, epoch, image) alone.

Each technique is one file with its arguments and its arithmetic. `section` registers it with its
key, description and place in the order. A batch of uint8 pixels is changed in place: flipped and
shifted by array operations on the whole batch (`place`); cropped, recolored and transformed by
Pillow, one image at a time. Images are identified by their position in the split. Mixup and CutMix
need two images and their labels and are in `training.mixing`. This package imports `data.decode`,
`data.resize`, `schema` and the top-level modules.
"""

from cnn_cli.data.augment.augmentation import Augmentation, make_augmentation
from cnn_cli.data.augment.crop import RandomResizedCrop, kept_preprocess
from cnn_cli.data.augment.section import TECHNIQUES, AugmentConfig
from cnn_cli.data.augment.technique import Resample

__all__ = [
    "TECHNIQUES",
    "AugmentConfig",
    "Augmentation",
    "RandomResizedCrop",
    "Resample",
    "kept_preprocess",
    "make_augmentation",
]
