"""What a test run leaves: a record of every sample, and the figures that are computed from it."""
