"""Types of config values: what is allowed, the sentence said where it is not, and what keys mean.

Imports the ground floor only: optimizers and augmentations declare their arguments with these.
"""
