"""How fast a network trains and predicts, on random images.

Imports `training` and what is below it.
"""
