"""The processes of one job, over MPI, and how they share batches.

Imports `data`, `nn` and the ground floor.
"""
