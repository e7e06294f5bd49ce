"""MARDM (arXiv 2411.16575)."""
