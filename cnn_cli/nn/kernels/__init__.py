"""Arithmetic on arrays, in NumPy and in loops that numba compiles; no layers, no threads."""
