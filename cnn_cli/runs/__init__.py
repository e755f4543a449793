"""What a run leaves on disk: its folder, lock, checkpoints, metrics files, and where it stands.

Imports `config` and what is below it.
"""
