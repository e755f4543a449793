"""Optimization: optimizers, schedules, parameter groups, weight averages, gradient accumulation.

Each module declares its arguments beside its arithmetic; `config` collects them. This package
imports `nn`, `schema` and the top-level modules.
"""
