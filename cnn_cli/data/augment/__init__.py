"""Random changes to training images, each a function of (seed, epoch, image) alone.

A batch of bytes is changed in place: mirrored and moved by array operations on all of its images
(`place`), crop, colour and geometry by Pillow, an image at a time. Images are told apart by their
position in the split. Mixup and CutMix need two images and the labels: `training.mixing`.
"""

from cnn_cli.data.augment.augmentation import Augmentation, make_augmentation
from cnn_cli.data.augment.crop import RandomResizedCrop, kept_preprocess

__all__ = ["Augmentation", "RandomResizedCrop", "kept_preprocess", "make_augmentation"]
