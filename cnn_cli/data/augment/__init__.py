"""Random changes to training images, each a function of (seed, epoch, image) alone.

A technique is one file: its arguments and its arithmetic. `section` registers it: its key, its text
and its place in the order. A batch of bytes is changed in place: mirrored and moved by array
operations on all of its images (`place`), crop, colour and geometry by Pillow, an image at a time.
Images are told apart by their position in the split. Mixup and CutMix need two images and the
labels: `training.mixing`. Imports `data.decode`, `data.resize`, `schema` and the ground floor.
"""

from cnn_cli.data.augment.augmentation import Augmentation, make_augmentation
from cnn_cli.data.augment.crop import RandomResizedCrop, kept_preprocess
from cnn_cli.data.augment.section import TECHNIQUES, AugmentConfig

__all__ = [
    "TECHNIQUES",
    "AugmentConfig",
    "Augmentation",
    "RandomResizedCrop",
    "kept_preprocess",
    "make_augmentation",
]
