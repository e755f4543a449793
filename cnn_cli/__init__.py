"""Train, evaluate and run convolutional image classifiers in plain NumPy."""

__version__ = "0.1.0"
