"""RoCoG-v2."""
