"""The kernels as plain loops: what NumPy's forms are proved against, and what numba compiles."""
