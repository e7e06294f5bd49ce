"""Keys of texts and fingerprints of weights and files; they are the same in every process and on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def stable_key(text: str) -> int:
    """A number in [0, 2^63) for a text: the first 63 bits of its SHA-256, since torch's int64 is signed.

    >>> stable_key("a person walks") == stable_key("a person walks")
    True
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def weights_fingerprint(modules: Mapping[str, nn.Module], about: str = "") -> str:
    """16 hexadecimal digits that change with any weight or buffer of the modules, and with the text `about`."""
    import torch

    digest = hashlib.sha256(about.encode())
    for prefix, module in sorted(modules.items()):
        for name, value in sorted(module.state_dict().items()):
            content = value.detach().cpu().contiguous()
            digest.update(f"{prefix}.{name} {content.dtype} {tuple(content.shape)}".encode())
            # As bytes, since NumPy has no bfloat16.
            digest.update(content.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()
