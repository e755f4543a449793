"""The first config for a folder of images, which `cnn init` writes.

`survey` examines the images, `measure` times networks, `choose` and `fine_tuning` decide,
`config_text` writes the YAML, `words` its comments; `propose` combines them. This package imports
`bench` and the packages below it.
"""
