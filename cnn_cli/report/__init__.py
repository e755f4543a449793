"""Everything that a person looks at: tables, pictures and pages about runs and networks.

This package may import everything but `cli`; it prints nothing.

- text: tables and lines for a terminal, the corresponding values for `--json`, and CSV files.
- pictures: PNG files, drawn by Pillow, or by matplotlib (the extra `report`).
- html: the page of `cnn report`.
"""
