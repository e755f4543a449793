"""The processes of one job, over MPI, and how they share batches.

This package imports `data`, `nn` and the top-level modules.
"""
