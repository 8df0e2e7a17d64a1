"""
What the specification says: its nouns, its times, its rules and how a breach of them is told.

Pure: no I/O, no clock, nothing but the standard library. Every other room may use this one; it knows none.
"""
