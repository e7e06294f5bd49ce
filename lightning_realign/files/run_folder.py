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
