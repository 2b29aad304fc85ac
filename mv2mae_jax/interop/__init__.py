"""Weights and models of other programs, in and out."""
