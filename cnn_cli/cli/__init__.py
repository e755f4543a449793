"""The commands, one file each: parse, call the library, print, choose the exit code.

A file has the command's name (`data_check.py` is `cnn data check`) and registers it; there is no
other list. Code for several commands is in `shared`. This package may import everything.
"""
