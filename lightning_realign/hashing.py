"""Numbers from texts that are the same in every process and on every machine, unlike Python's own `hash`."""

from __future__ import annotations

import hashlib


def stable_key(text: str) -> int:
    """A number in [0, 2^63) for a text: the first bits of its SHA-256.

    63 bits, since torch's seeds and int64 tensors are signed.

    >>> stable_key("a person walks") == stable_key("a person walks")
    True
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
