"""Import weights of other programs, and export networks for other runtimes.

`importing` converts a file of weights to a checkpoint: `readers` read the file; `derive` derives
the config of its network, or `match_structure` and `match_names` match its layers to those of a
config; `assemble` converts the arrays. `export` is the opposite direction. This package imports
`inference` and the packages below it.
"""
