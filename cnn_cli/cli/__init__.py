"""The commands: one file each, which parses, calls, prints and chooses the exit code.

The file has the command's name (`data_check.py` is `cnn data check`) and registers it; nothing
else lists it. What several commands use is in `shared`. May import everything.
"""
