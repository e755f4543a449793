"""One reader per format of weights; all return a `foreign.Foreign`.

This package imports `interop.foreign`, `nn.layers` and the top-level modules.
"""
