"""The commands: one file each, which parses, calls, prints and chooses the exit code.

What they share is in `shared`.
"""
