"""The kernels as plain loops: slow, readable, what the fast ones are proved against."""
