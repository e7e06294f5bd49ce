"""Checks of data sets: `doctor` looks a whole one over, by the checks in `motion` and `statistics`."""
