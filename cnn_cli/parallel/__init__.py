"""The processes of one job, over MPI or shared memory, and how they share batches.

This package imports `data`, `nn` and the top-level modules.
"""
