"""Arithmetic on arrays, in NumPy and in loops compiled by numba; without layers and threads."""
