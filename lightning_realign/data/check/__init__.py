"""Checks of motions, statistics and whole data sets."""
