"""A checkpoint as a classifier: predict, evaluate, calibrate, explain.

Imports `runs`, `parallel` and what is below them; never `training`.
"""
