"""Weights of others in, networks for other runtimes out.

Imports `inference` and what is below it.
"""
