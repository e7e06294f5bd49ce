"""MoMask (arXiv 2312.00063): `generator`, how it draws `tokens`, and its published `files`."""
