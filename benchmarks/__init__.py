"""Rates of this machine: a table for people, JSON for other programs."""
