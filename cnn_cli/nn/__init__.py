"""The network: graph, engine, layers and kernels. Arrays in, arrays out; no files, no config.

Imports the ground floor only.
"""
