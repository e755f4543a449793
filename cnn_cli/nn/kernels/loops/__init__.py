"""The kernels as plain loops: NumPy kernels are tested against them, and numba compiles them."""
