"""MDM (arXiv 2209.14916): `generator`, and its published `files`."""
