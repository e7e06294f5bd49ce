"""MoMask (arXiv 2312.00063)."""
