"""Tables, pictures and pages about runs and networks: everything a person looks at.

Imports all but `cli`; prints nothing.
"""
