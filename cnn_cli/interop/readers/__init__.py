"""A reader for each kind of file of weights; all give a `foreign.Foreign`.

Imports `interop.foreign`, `nn.types` and the ground floor.
"""
