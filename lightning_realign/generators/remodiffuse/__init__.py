"""ReMoDiffuse (arXiv 2304.01116): `generator`, its retrieval `database`, making one (`build`), and its `files`."""
