"""A procedural articulated figure, seen by three synchronised cameras."""

SUBJECTS, REPLICATIONS, SEED, STAGING = 20, 2, 0, "centred"  # where nothing else is asked for
