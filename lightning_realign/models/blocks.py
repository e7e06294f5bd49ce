"""Building blocks of the MLD family (Chen et al., CVPR 2023): skip-connected transformers, tables and embeddings.

Everything inside is sequence-first, [S, B, width], as in the public checkpoints. That is also what keeps PyTorch from
switching to its fused inference kernels (they require batch-first layers), so that a network computes the same numbers
with and without gradients, which reward guidance relies on. Module and parameter names are the public checkpoints'.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.types import valid_mask, zero_padding


class TransformerSizes(Protocol):
    """What the transformers of this package need to know of an architecture."""

    @property
    def width(self) -> int:
        """Channels of a token."""

    @property
    def layers(self) -> int:
        """Number of transformer layers; odd where skip connections pair them."""

    @property
    def heads(self) -> int:
        """Attention heads; divides the width."""

    @property
    def feedforward(self) -> int:
        """Channels of the feed-forward layers."""

    @property
    def dropout(self) -> float:
        """Dropout probability while training."""

    @property
    def max_tokens(self) -> int:
        """Rows of the position tables."""

    @property
    def norm_first(self) -> bool:
        """Whether a layer normalises its input (pre-norm) rather than its output (post-norm, as published)."""


def check_sizes(sizes: TransformerSizes, **others: int) -> None:
    """Refuse sizes that no skip-connected transformer can be built from; see `check_plain_sizes`.

    Raises:
        ConfigError: also for an even number of layers.
    """
    check_plain_sizes(sizes, **others)
    if sizes.layers % 2 == 0:
        raise ConfigError(
            f"layers={sizes.layers}: must be odd, since skip connections pair the layers around the middle"
        )


def check_plain_sizes(sizes: TransformerSizes, **others: int) -> None:
    """Refuse sizes that no transformer can be built from; `others` are sizes of the data and the like, by name.

    Raises:
        ConfigError: a size below 1, heads that do not divide the width, an odd width, bad dropout.
    """
    named = {name: getattr(sizes, name) for name in ("width", "layers", "heads", "feedforward", "max_tokens")}
    for name, value in (named | others).items():
        if value < 1:
            raise ConfigError(f"{name}={value}: must be at least 1")
    if sizes.width % 2 or sizes.width % sizes.heads:
        raise ConfigError(f"width={sizes.width}: must be even and a multiple of heads={sizes.heads}")
    if not 0.0 <= sizes.dropout < 1.0:
        raise ConfigError(f"dropout={sizes.dropout}: must lie in [0, 1)")


class SkipTransformer(nn.Module):
    """Layers paired around a middle one: before output layer i, the i-th last input layer's result is joined in.

    The pair is concatenated on features, [S, B, 2 width], and projected back by `linear_blocks[i]`.
    """

    def __init__(self, layers: list[nn.Module], norm: nn.LayerNorm) -> None:
        super().__init__()
        pairs, width = len(layers) // 2, norm.normalized_shape[0]
        self.input_blocks = nn.ModuleList(layers[:pairs])
        self.middle_block = layers[pairs]
        self.output_blocks = nn.ModuleList(layers[pairs + 1 :])
        self.linear_blocks = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(pairs))
        self.norm = norm
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1 and not name.startswith("norm."):
                nn.init.xavier_uniform_(parameter)

    def forward(self, x: Tensor, padding: Tensor, memory: Tensor | None = None) -> Tensor:
        """Transform x [S, B, width]; `padding` [B, S] is true where a token is to be ignored.

        `memory` [M, B, width] is what decoder layers attend to; encoder layers have none.
        """
        skips: list[Tensor] = []
        for block in self.input_blocks:
            x = _apply(block, x, padding, memory)
            skips.append(x)
        x = _apply(self.middle_block, x, padding, memory)
        for block, linear in zip(self.output_blocks, self.linear_blocks, strict=True):
            x = _apply(block, linear(torch.cat((x, skips.pop()), dim=-1)), padding, memory)
        result: Tensor = self.norm(x)
        return result


def _apply(block: nn.Module, x: Tensor, padding: Tensor, memory: Tensor | None) -> Tensor:
    if memory is None:
        result: Tensor = block(x, src_key_padding_mask=padding)
    else:
        result = block(x, memory, tgt_key_padding_mask=padding)
    return result


def skip_encoder(sizes: TransformerSizes, norm: nn.LayerNorm | None = None) -> SkipTransformer:
    """A skip-connected stack of encoder layers (exact GELU); `norm` allows a shared final norm."""
    layers: list[nn.Module] = [
        nn.TransformerEncoderLayer(
            sizes.width, sizes.heads, sizes.feedforward, sizes.dropout, F.gelu, norm_first=sizes.norm_first
        )
        for _ in range(sizes.layers)
    ]
    return SkipTransformer(layers, norm or nn.LayerNorm(sizes.width))


def skip_decoder(sizes: TransformerSizes) -> SkipTransformer:
    """A skip-connected stack of decoder layers (exact GELU): self-attention, then cross-attention."""
    layers: list[nn.Module] = [
        nn.TransformerDecoderLayer(
            sizes.width, sizes.heads, sizes.feedforward, sizes.dropout, F.gelu, norm_first=sizes.norm_first
        )
        for _ in range(sizes.layers)
    ]
    return SkipTransformer(layers, nn.LayerNorm(sizes.width))


def sinusoid(values: Tensor, size: int) -> Tensor:
    """[cos | sin] of `values` [N] at `size` / 2 frequencies 10000^(-i / (size / 2)), as float64 [N, size].

    Evaluated in float64: at t = 1000 a float32 argument would already be off by 6e-5 radians.
    """
    half = size // 2
    exponents = torch.arange(half, dtype=torch.float64, device=values.device) / half
    angles = values.to(torch.float64)[:, None] * 10000.0**-exponents
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


def position_table(rows: int, width: int) -> Tensor:
    """Sines (even channels) and cosines (odd) of frequencies 10000^(-i / width), i = 0, 2, ...: [rows, width].

    The fixed table of MDM, TMR and MoMask. In float32, as their public code computes it: at frame 200 its angles are
    1e-5 off, and the weights were trained with that.
    """
    frequencies = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
    angles = torch.arange(rows).float()[:, None] * frequencies
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)


class LearnedPositions(nn.Module):
    """A learned table `pe` [max_tokens, 1, width], added to the first S tokens.

    It starts as the sinusoid table: neighbouring frames then begin with similar queries, which a short training on a
    small data set would not learn from random rows.
    """

    def __init__(self, max_tokens: int, width: int) -> None:
        super().__init__()
        self.pe = nn.Parameter(sinusoid(torch.arange(max_tokens), width)[:, None].float())

    def forward(self, x: Tensor) -> Tensor:
        """Add the positions to x [S, B, width].

        Raises:
            FeatureSpecError: the sequence is longer than the table.
        """
        if len(x) > len(self.pe):
            raise FeatureSpecError(
                f"a sequence of {len(x)} tokens exceeds the position table's {len(self.pe)}: "
                "shorten the motions, or build the model with a larger patch"
            )
        return x + self.pe[: len(x)]


class StepEmbedding(nn.Module):
    """Embeds integer timesteps [B]: sinusoid of `size` channels, linear, SiLU, linear, giving [B, width]."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.linear_1 = nn.Linear(size, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        """Embed t [B]."""
        embedded: Tensor = self.linear_2(F.silu(self.linear_1(sinusoid(t, self.size).to(self.linear_1.weight.dtype))))
        return embedded


def group_frames(motion: Tensor, lengths: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """Zero the padding and join each `patch` consecutive frames into one token.

    Args:
        motion: [B, T, D]; T need not be a multiple of `patch`.
        lengths: [B] frames.
        patch: frames per token.

    Returns:
        Tokens [ceil(T / patch), B, patch * D] (sequence-first) and their valid number per sample [B].
    """
    frames = F.pad(zero_padding(motion, lengths), (0, 0, 0, -motion.shape[1] % patch))
    tokens = frames.reshape(len(frames), -1, patch * frames.shape[2]).transpose(0, 1)
    return tokens, token_lengths(lengths, patch)


def token_lengths(lengths: Tensor, patch: int) -> Tensor:
    """Number of tokens [B] that hold `lengths` [B] frames, rounded up."""
    return torch.div(lengths + patch - 1, patch, rounding_mode="floor")


def check_motion(motion: Tensor, lengths: Tensor, num_features: int) -> None:
    """Refuse a tensor of another shape or feature size than the network's.

    Raises:
        FeatureSpecError: `motion` is not [B, T, num_features], or `lengths` is not [B].
    """
    if motion.dim() != 3 or motion.shape[2] != num_features:
        raise FeatureSpecError(
            f"motion has shape {tuple(motion.shape)}, the model expects [B, T, {num_features}]: "
            "use a data set of the skeleton it was trained with"
        )
    if lengths.shape != motion.shape[:1]:
        raise FeatureSpecError(f"lengths has shape {tuple(lengths.shape)}, expected [{len(motion)}], one per motion")


def decode_frames(
    decoder: SkipTransformer,
    positions: LearnedPositions,
    final_layer: nn.Linear,
    memory: Tensor,
    lengths: Tensor,
    size: int,
    patch: int,
    queries: Tensor | None = None,
) -> Tensor:
    """Decode motions from memory tokens: queries + positions attend to the memory, then `final_layer`.

    Args:
        decoder: the skip-connected decoder.
        positions: the queries' table.
        final_layer: width -> patch * D.
        memory: [M, B, width].
        lengths: [B] frames.
        size: number of frames T of the result.
        patch: frames per token.
        queries: [ceil(T / patch), B, width]; None, as published, is zero.

    Returns:
        [B, T, D], zero beyond each length.
    """
    tokens, batch = -(-size // patch), memory.shape[1]
    queries = positions(memory.new_zeros(tokens, batch, memory.shape[2]) if queries is None else queries)
    padding = ~valid_mask(token_lengths(lengths, patch), tokens)
    frames: Tensor = final_layer(decoder(queries, padding, memory)).transpose(0, 1)
    return zero_padding(frames.reshape(batch, tokens * patch, -1)[:, :size], lengths)
