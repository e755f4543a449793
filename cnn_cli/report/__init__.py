"""Tables, pictures and pages about runs and networks: everything a person looks at.

Imports all but `cli`; prints nothing.

text: tables and lines for a terminal, with what `--json` prints of the same; CSV files.
pictures: PNG files, drawn by Pillow, or by matplotlib, which is the extra `report`.
html: the page of `cnn report`.
"""
