"""TMR (Petrovich et al., ICCV 2023): motions and texts in one space, by encoders in the manner of ACTOR.

Parameters have the names of the public weights, whose three files are the three parts of `TMR`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_realign.errors import FeatureSpecError
from lightning_realign.models.blocks import check_motion, check_plain_sizes, position_table
from lightning_realign.types import Gaussian, valid_mask, zero_padding

# The first two tokens of an encoder's output: mean and logarithm of the variance.
_TOKENS = 2


@dataclass(frozen=True)
class TMRArchitecture:
    """Constructor arguments of `TMR` apart from the data's sizes; the defaults are the published ones."""

    width: int = 256
    layers: int = 6
    heads: int = 4
    feedforward: int = 1024
    dropout: float = 0.1
    max_tokens: int = 5000

    @property
    def norm_first(self) -> bool:
        """Layers normalise their output, as published."""
        return False


class SinusoidPositions(nn.Module):
    """Adds the `position_table`, which is no parameter and in no file, to the first tokens of a sequence."""

    table: Tensor

    def __init__(self, max_tokens: int, width: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("table", position_table(max_tokens, width)[:, None], persistent=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Add the positions to x [S, B, width].

        Raises:
            FeatureSpecError: the sequence is longer than the table.
        """
        if len(x) > len(self.table):
            raise FeatureSpecError(
                f"a sequence of {len(x)} tokens exceeds the position table's {len(self.table)}: shorten the motions"
            )
        moved: Tensor = self.dropout(x + self.table[: len(x)])
        return moved


class ActorEncoder(nn.Module):
    """Encodes sequences of vectors, frames or text tokens alike, as Gaussians."""

    def __init__(self, channels: int, sizes: TMRArchitecture) -> None:
        super().__init__()
        self.projection = nn.Linear(channels, sizes.width)
        self.tokens = nn.Parameter(torch.randn(_TOKENS, sizes.width))
        self.sequence_pos_encoding = SinusoidPositions(sizes.max_tokens, sizes.width, sizes.dropout)
        layer = nn.TransformerEncoderLayer(sizes.width, sizes.heads, sizes.feedforward, sizes.dropout, F.gelu)
        self.seqTransEncoder = nn.TransformerEncoder(layer, sizes.layers, enable_nested_tensor=False)

    def forward(self, sequence: Tensor, lengths: Tensor) -> Gaussian:
        """The distribution [B, width] of sequences [B, S, channels] of which `lengths` [B] vectors are valid."""
        embedded = self.projection(zero_padding(sequence, lengths)).transpose(0, 1)
        tokens = self.tokens[:, None].expand(-1, len(sequence), -1)
        moved = self.sequence_pos_encoding(torch.cat((tokens, embedded)))
        padding = ~valid_mask(lengths + _TOKENS, len(moved))
        mean, logvar = self.seqTransEncoder(moved, src_key_padding_mask=padding)[:_TOKENS]
        return Gaussian(mean, logvar)


class ActorDecoder(nn.Module):
    """Decodes a latent into frames, which ask for it by their positions alone."""

    def __init__(self, channels: int, sizes: TMRArchitecture) -> None:
        super().__init__()
        self.sequence_pos_encoding = SinusoidPositions(sizes.max_tokens, sizes.width, sizes.dropout)
        layer = nn.TransformerDecoderLayer(sizes.width, sizes.heads, sizes.feedforward, sizes.dropout, F.gelu)
        self.seqTransDecoder = nn.TransformerDecoder(layer, sizes.layers)
        self.final_layer = nn.Linear(sizes.width, channels)

    def forward(self, latent: Tensor, lengths: Tensor, size: int) -> Tensor:
        """Frames [B, size, channels], zero beyond `lengths` [B], of latents [B, width]."""
        queries = self.sequence_pos_encoding(latent.new_zeros(size, *latent.shape))
        decoded = self.seqTransDecoder(queries, latent[None], tgt_key_padding_mask=~valid_mask(lengths, size))
        return zero_padding(self.final_layer(decoded).transpose(0, 1), lengths)


class TMR(nn.Module):
    """TMR's motion encoder, text encoder and motion decoder, used as a reward model without a step token.

    Args:
        num_features: D, features of a frame.
        token_size: E, channels of a text token.
        width: channels of a token, and of the latents.
        layers: layers of each transformer.
        heads: attention heads.
        feedforward: channels of the feed-forward layers.
        dropout: dropout probability while training.
        max_tokens: rows of the position tables; a motion may have max_tokens - 2 frames.

    Raises:
        ConfigError: sizes that no network can be built from.
    """

    step_aware = False

    def __init__(
        self,
        num_features: int,
        token_size: int,
        *,
        width: int = 256,
        layers: int = 6,
        heads: int = 4,
        feedforward: int = 1024,
        dropout: float = 0.1,
        max_tokens: int = 5000,
    ) -> None:
        super().__init__()
        self.num_features, self.token_size = num_features, token_size
        self.architecture = TMRArchitecture(width, layers, heads, feedforward, dropout, max_tokens)
        check_plain_sizes(self.architecture, num_features=num_features, token_size=token_size)
        self.motion_encoder = ActorEncoder(num_features, self.architecture)
        self.text_encoder = ActorEncoder(token_size, self.architecture)
        self.motion_decoder = ActorDecoder(num_features, self.architecture)

    def encode_motion(self, motion: Tensor, lengths: Tensor, t: Tensor | None = None) -> Gaussian:
        """Encode motions.

        Args:
            motion: [B, T, D] normalised features; what lies beyond `lengths` is ignored.
            lengths: [B] frames.
            t: ignored: TMR has seen clean motions only, and knows no noise level.

        Returns:
            The latent's distribution, [B, width].

        Raises:
            FeatureSpecError: another feature size, or a motion of more tokens than the position table has.
        """
        check_motion(motion, lengths, self.num_features)
        encoded: Gaussian = self.motion_encoder(motion, lengths)
        return encoded

    def encode_text(self, tokens: Tensor, lengths: Tensor) -> Gaussian:
        """Encode texts from token embeddings [B, L, E] of `lengths` [B] tokens.

        Raises:
            FeatureSpecError: another token size.
        """
        if tokens.dim() != 3 or tokens.shape[2] != self.token_size:
            raise FeatureSpecError(
                f"text tokens have shape {tuple(tokens.shape)}, TMR expects [B, L, {self.token_size}]: use the text "
                "encoder it was trained with"
            )
        encoded: Gaussian = self.text_encoder(tokens, lengths)
        return encoded

    def decode(self, latent: Tensor, lengths: Tensor, size: int) -> Tensor:
        """Reconstruct motions [B, size, D] (normalised, zero beyond `lengths` [B]) from latents [B, width]."""
        frames: Tensor = self.motion_decoder(latent, lengths, size)
        return frames

    def similarity(self, motion_latent: Tensor, text_latent: Tensor) -> Tensor:
        """The reward: cosine similarity [B] of two latents [B, width]. TMR itself prints (1 + cosine) / 2."""
        return F.cosine_similarity(motion_latent, text_latent, dim=-1)
