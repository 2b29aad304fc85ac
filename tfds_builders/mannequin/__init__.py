"""A procedural articulated figure, seen by three synchronised cameras."""
