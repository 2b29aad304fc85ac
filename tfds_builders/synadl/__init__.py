"""KIST SynADL."""
