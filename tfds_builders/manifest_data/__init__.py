"""Data of one's own, listed in a CSV."""
