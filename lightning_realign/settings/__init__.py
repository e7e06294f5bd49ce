"""The settings of a run: each is declared here, once, with its default and its validation."""
