"""Weights of others in, networks for other runtimes out.

`importing` leads from a file of weights to a checkpoint: `readers` read the file,
`match_structure` and `match_names` find which of its layers is which, `assemble` makes the
arrays fit. `export` is the way out. Imports `inference` and what is below it.
"""
