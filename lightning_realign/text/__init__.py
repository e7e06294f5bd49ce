"""Frozen text encoders and the disk cache of their features.

- `encoder`: encoders by name. `base`: what each offers. `sentence`, `pretrained`, `files`: the libraries' own.
- `cache`: features on disk. `word_vectors`: captions as Guo et al.'s evaluator reads them.
"""

from lightning_realign.text.base import EncodedCaption, TextEncoder
from lightning_realign.text.cache import CachedTextEncoder
from lightning_realign.text.encoder import TEXT_SIZES, load_text_encoder, text_sizes

__all__ = ["TEXT_SIZES", "CachedTextEncoder", "EncodedCaption", "TextEncoder", "load_text_encoder", "text_sizes"]
