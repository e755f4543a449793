"""Images: folders and lists of files, checks, splits, decoding, augmentation, caches and batches.

This package imports `schema` and the top-level modules.
"""
