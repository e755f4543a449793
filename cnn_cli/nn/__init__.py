"""The network: graph, engine, layers and kernels. It works on arrays and knows no files and no
config.

This package imports the top-level modules only.
"""
