"""Derive a config from the network in a file.

`network` finds the lists of layers and the layers that contain them, using the paths between
tensors (`graph_paths`); `layers` converts single ops. This package imports `interop.foreign`,
`nn.layers` and the top-level modules.
"""
