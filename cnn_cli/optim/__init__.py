"""How parameters move: optimizers, schedules, parameter groups, averages, accumulation.

Imports `nn`, `schema` and the ground floor.
"""
