"""Measure how fast a network trains and predicts, on random images.

This package imports `training` and the packages below it.
"""
