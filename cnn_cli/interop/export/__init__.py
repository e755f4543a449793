"""A checkpoint as a file for other runtimes: ONNX and safetensors.

Imports `inference` and what is below it.
"""
