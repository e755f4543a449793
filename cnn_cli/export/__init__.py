"""Weights of others in, networks for other runtimes out."""
