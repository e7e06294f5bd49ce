"""MARDM (arXiv 2411.16575): `generator`, the `denoising` of its codes, and its published `files`."""
