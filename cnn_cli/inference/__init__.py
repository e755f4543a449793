"""A checkpoint as a classifier: predict, evaluate, calibrate, explain.

This package imports `runs`, `parallel` and the packages below them, never `training`.
"""
