"""Skeletons and the features that they have."""
