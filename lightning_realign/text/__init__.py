"""Frozen text encoders and the disk cache of their features.

- `encoder`: encoders by name. `base`: their base class. `files`: where their files are, and what is refused.
- `sentence`, `pretrained`: the encoders of the libraries sentence-transformers and transformers.
- `cache`: features on disk. `word_vectors`: captions as Guo et al.'s evaluator reads them.
"""

from lightning_realign.text.base import EncodedCaption, FrozenTextEncoder
from lightning_realign.text.cache import CachedTextEncoder
from lightning_realign.text.encoder import TEXT_SIZES, load_text_encoder, text_sizes

__all__ = ["TEXT_SIZES", "CachedTextEncoder", "EncodedCaption", "FrozenTextEncoder", "load_text_encoder", "text_sizes"]
