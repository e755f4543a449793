"""Tables and lines for a terminal, the corresponding values for `--json`, and CSV files."""
