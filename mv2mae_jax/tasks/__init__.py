"""What can be run: each task is one function of a config and a work directory."""
