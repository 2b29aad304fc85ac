"""PKU-MMD, phase II."""
