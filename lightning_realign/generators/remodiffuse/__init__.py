"""ReMoDiffuse (arXiv 2304.01116)."""
