"""How parameters move: optimizers, schedules, parameter groups, averages, accumulation.

Each declares its arguments beside its arithmetic; `config` collects them. Imports `nn`, `schema`
and the ground floor.
"""
