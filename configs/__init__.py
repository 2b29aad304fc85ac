"""One file per data set; see base.py for every field."""
