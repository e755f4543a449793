"""Code for several commands: options, values, streams, signals, progress, several processes."""
