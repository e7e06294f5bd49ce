"""The motion viewer: motions as one page that needs no network and no server.

- `motions`: what is shown, read from files. `body`: the figure around a skeleton. `packing`: joints as short text.
- `page`: the page itself, from the files of `static/`. three.js in there is built by `bundle/`.
"""

from lightning_realign.viewer.page import write_page

__all__ = ["write_page"]
