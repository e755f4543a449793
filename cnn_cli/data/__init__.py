"""Images: folders, decoding, augmentation, caches and loading.

Imports `schema` and the ground floor.
"""
