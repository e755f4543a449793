"""What several commands share: options, values, streams, signals, progress, several processes."""
