"""Types of config values: their constraints, the messages, and the descriptions of keys.

This package imports the top-level modules only; optimizers and augmentations declare their
arguments with it.
"""
