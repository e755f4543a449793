"""Run folders: lock, checkpoints, metrics files, and the state of a training.

This package imports `config` and the packages below it.
"""
