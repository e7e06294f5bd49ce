"""Where the files of a run go."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import lightning as L

RUN_FOLDER_VARIABLE = "REALIGN_RUN_DIR"


def run_folder(trainer: L.Trainer) -> Path:
    """The folder of this run's files: $REALIGN_RUN_DIR if set, else the first logger's folder, else the root folder.

    Call it on all ranks, since Lightning broadcasts the folder.
    """
    logged = trainer.log_dir
    return Path(os.environ.get(RUN_FOLDER_VARIABLE) or logged or trainer.default_root_dir)


def newest_with(folder: Path, *patterns: str) -> Path:
    """The folder itself if it holds a file of a pattern, else the newest `logs/version_*` below it that does.

    A run's folder (`trainer.default_root_dir`) so stands for its latest run. Where nothing is found, it is `folder`.
    """

    def number(path: Path) -> int:
        return int(path.name.removeprefix("version_")) if path.name.removeprefix("version_").isdecimal() else -1

    versions = sorted(folder.glob("logs/version_*"), key=number, reverse=True)
    holding = (one for one in (folder, *versions) if any(next(one.glob(pattern), None) for pattern in patterns))
    return next(holding, folder)
