"""Weights of others in, networks for other runtimes out.

`importing` leads from a file of weights to a checkpoint: `readers` read the file, `derive` finds
the config of its network, or `match_structure` and `match_names` which of its layers is which of a
config's; `assemble` makes the arrays fit. `export` is the way out. Imports `inference` and what is
below it.
"""
