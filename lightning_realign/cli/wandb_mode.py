"""Whether Weights & Biases is online."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit


def has_key() -> bool:
    """Whether a W&B API key is found: WANDB_API_KEY, WANDB_IDENTITY_TOKEN_FILE, or an entry of a netrc file."""
    if any(os.environ.get(name) for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    named = os.environ.get("NETRC")
    for path in [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        try:
            if netrc.netrc(path).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def configure_wandb_mode() -> None:
    """Keep W&B offline where nobody is logged in, so that it neither asks nor fails.

    Leaves the environment alone where WANDB_MODE is set or a key is found. Does not import wandb.
    """
    if os.environ.get("WANDB_MODE"):
        return
    if not has_key():
        os.environ["WANDB_MODE"] = "offline"
