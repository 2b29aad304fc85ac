"""Data sets as TFDS builders: a raw layout becomes manifest rows, the rows become records."""
