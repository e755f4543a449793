"""Export a checkpoint for other runtimes: ONNX and safetensors.

This package imports `inference` and the packages below it.
"""
