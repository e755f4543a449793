"""From a config to a run: set-up, loop, step, and what hangs on the loop.

Imports `inference` and what is below it.
"""
