"""Where caches lie."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "REALIGN_CACHE"


def cache_folder(kind: str, folder: Path | str | None = None) -> Path:
    """The folder of a kind of cache.

    It is `folder` if one is given, else `$REALIGN_CACHE/KIND`, else `~/.cache/lightning_realign/KIND`.

    Args:
        kind: `text` for text features, `index` for retrieval indexes.
        folder: the folder that a user has chosen; None for the usual one.
    """
    if folder is not None:
        return Path(folder).expanduser()
    root = os.environ.get(CACHE_VARIABLE)
    return (Path(root).expanduser() if root else Path.home() / ".cache" / "lightning_realign") / kind
