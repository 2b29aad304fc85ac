"""ETRI-Activity3D."""
