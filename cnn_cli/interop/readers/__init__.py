"""A reader for each kind of file of weights; all give a `foreign.Foreign`.

Imports `interop.foreign`, `nn.layers` and the ground floor.
"""
