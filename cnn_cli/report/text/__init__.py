"""Tables and lines for a terminal, what `--json` prints of the same, and CSV files."""
