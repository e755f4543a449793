"""A first config for a folder of pictures: what `cnn init` writes.

`choose` decides, from what was found and measured; `measure` has the clock; `config_text`
writes the YAML, `words` its comments; `propose` leads from one to the next.
Imports `bench` and what is below it.
"""
