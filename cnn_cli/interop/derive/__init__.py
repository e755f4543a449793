"""The config of a network that a file describes, found from how its layers are connected.

`network` finds the lists of layers and what holds them, by the `paths` between tensors; `layers`
reads one op. Imports `interop.foreign`, `nn.layers` and the ground floor.
"""
