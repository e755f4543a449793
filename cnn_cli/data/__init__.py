"""Images: folders and lists of files, checks, splits, decoding, augmentation, caches and batches.

Imports `schema` and the ground floor.
"""
