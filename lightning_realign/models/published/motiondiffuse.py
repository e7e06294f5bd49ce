"""The denoiser of MotionDiffuse (Zhang et al., TPAMI 2024, arXiv 2208.15001; github.com/mingyuan-zhang/MotionDiffuse).

A transformer over the frames of a normalised motion, conditioned on CLIP's token sequence through cross-attention and,
with the timestep, through a scale and shift after every block. Module and parameter names are the public checkpoints'.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.models.blocks import sinusoid
from lightning_realign.types import valid_mask


@dataclass(frozen=True)
class MotionDiffuseArchitecture:
    """Sizes of `MotionDiffuseDenoiser`; the defaults are the published ones, of both data sets.

    width, layers, heads, feedforward: of the motion's transformer. max_frames: rows of its position table.
    text_size: channels of CLIP's hidden states. text_width, text_layers, text_heads, text_feedforward: of the
    transformer that reads them. quadratic: softmax attention between all pairs of frames (the public code's `no_eff`)
    in place of linear attention; the weights have the same names and shapes either way.

    Raises:
        ConfigError: a size that no network can be built from.
    """

    width: int = 512
    layers: int = 8
    heads: int = 8
    feedforward: int = 1024
    max_frames: int = 196
    text_size: int = 512
    text_width: int = 256
    text_layers: int = 4
    text_heads: int = 4
    text_feedforward: int = 2048
    quadratic: bool = False

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "quadratic" and value < 1:
                raise ConfigError(f"motiondiffuse {name}={value}: must be at least 1")
        if self.width % 2 or self.width % self.heads:
            raise ConfigError(f"motiondiffuse width={self.width}: must be even and a multiple of heads={self.heads}")
        if self.text_width % self.text_heads:
            raise ConfigError(
                f"motiondiffuse text_width={self.text_width}: must be a multiple of text_heads={self.text_heads}"
            )

    @property
    def condition_width(self) -> int:
        """Channels of the vector that conditions every block."""
        return 4 * self.width


@dataclass(frozen=True)
class MotionDiffuseText:
    """What the denoiser makes of B captions.

    tokens: [B, L, text_width] for cross-attention. sentence: [B, 4 width], added to the timestep's embedding.
    """

    tokens: Tensor
    sentence: Tensor


class MotionDiffuseDenoiser(nn.Module):
    """Predicts the noise of normalised motions from the timestep and the hidden states of a caption's tokens.

    Linear attention leaves padding out. Quadratic attention, as published, reads every frame of the tensor: its output
    depends on T and on what the padding holds.

    Args:
        num_features: D of a frame.
        sizes: the published ones by default.
    """

    def __init__(self, num_features: int, sizes: MotionDiffuseArchitecture | None = None) -> None:
        super().__init__()
        sizes = sizes or MotionDiffuseArchitecture()
        width, condition = sizes.width, sizes.condition_width
        self.num_features, self.architecture = num_features, sizes
        self.sequence_embedding = nn.Parameter(torch.randn(sizes.max_frames, width))
        self.text_pre_proj = nn.Linear(sizes.text_size, sizes.text_width)
        # Sequence-first, as published: batch-first layers would take fused kernels where no gradient is needed.
        layer = nn.TransformerEncoderLayer(
            sizes.text_width, sizes.text_heads, sizes.text_feedforward, dropout=0.0, activation="gelu"
        )
        self.textTransEncoder = nn.TransformerEncoder(layer, sizes.text_layers, enable_nested_tensor=False)
        self.text_ln = nn.LayerNorm(sizes.text_width)
        self.text_proj = nn.Sequential(nn.Linear(sizes.text_width, condition))
        self.joint_embed = nn.Linear(num_features, width)
        self.time_embed = nn.Sequential(nn.Linear(width, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.temporal_decoder_blocks = nn.ModuleList(_Block(sizes) for _ in range(sizes.layers))
        self.out = nn.Linear(width, num_features)

    def encode_text(self, tokens: Tensor, ends: Tensor) -> MotionDiffuseText:
        """Read captions, once for all steps.

        Args:
            tokens: [B, 77, text_size] CLIP's hidden states after its final LayerNorm, of the zero-padded sequence; all
                of them are read.
            ends: [B] the place of the end-of-text token.

        Raises:
            FeatureSpecError: tokens of another size.
        """
        if tokens.dim() != 3 or tokens.shape[2] != self.architecture.text_size or ends.shape != tokens.shape[:1]:
            raise FeatureSpecError(
                f"text tokens {tuple(tokens.shape)} with ends {tuple(ends.shape)}: the denoiser expects "
                f"[B, L, {self.architecture.text_size}] and [B]"
            )
        sequence = self.textTransEncoder(self.text_pre_proj(tokens).transpose(0, 1))
        encoded: Tensor = self.text_ln(sequence).transpose(0, 1)
        rows = torch.arange(len(encoded), device=encoded.device)
        return MotionDiffuseText(encoded, self.text_proj(encoded[rows, ends.to(encoded.device)]))

    def forward(self, x: Tensor, t: Tensor, text: MotionDiffuseText, lengths: Tensor) -> Tensor:
        """Predict the noise.

        Args:
            x: [B, T, D] noisy normalised motions.
            t: [B] indices of the diffusion steps, from 0.
            text: of B captions.
            lengths: [B] frames.

        Returns:
            [B, T, D]; beyond a sample's length it means nothing.

        Raises:
            FeatureSpecError: motions of another size, or longer than the position table.
        """
        frames, rows = x.shape[1], len(self.sequence_embedding)
        if x.dim() != 3 or x.shape[2] != self.num_features:
            raise FeatureSpecError(
                f"motions {tuple(x.shape)}: this MotionDiffuse model expects [B, T, {self.num_features}]"
            )
        if frames > rows:
            raise FeatureSpecError(f"a motion of {frames} frames: this MotionDiffuse model makes at most {rows}")
        step = sinusoid(t, self.architecture.width).to(x.dtype)
        condition = self.time_embed(step) + text.sentence
        hidden = self.joint_embed(x) + self.sequence_embedding[:frames]
        valid = valid_mask(lengths.to(x.device), frames)
        for block in self.temporal_decoder_blocks:
            hidden = block(hidden, text.tokens, condition, valid)
        result: Tensor = self.out(hidden)
        return result


class _Block(nn.Module):
    """Attention to the motion, attention to the text, feed-forward; each conditioned, each added to its input."""

    def __init__(self, sizes: MotionDiffuseArchitecture) -> None:
        super().__init__()
        self.sa_block = _SelfAttention(sizes)
        self.ca_block = _CrossAttention(sizes)
        self.ffn = StyledFeedForward(sizes)

    def forward(self, x: Tensor, text: Tensor, condition: Tensor, valid: Tensor) -> Tensor:
        """Of x [B, T, width], text [B, L, text_width], condition [B, 4 width], valid [B, T]."""
        x = self.sa_block(x, condition, valid)
        x = self.ca_block(x, text, condition)
        result: Tensor = self.ffn(x, condition)
        return result


class Stylisation(nn.Module):
    """Normalise, scale and shift by a projection of the condition, and project; the public code's stylisation block."""

    def __init__(self, sizes: MotionDiffuseArchitecture) -> None:
        super().__init__()
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(sizes.condition_width, 2 * sizes.width))
        self.norm = nn.LayerNorm(sizes.width)
        # The identity stands where the public model has its dropout, of probability 0: it keeps the names.
        self.out_layers = nn.Sequential(nn.SiLU(), nn.Identity(), nn.Linear(sizes.width, sizes.width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Of x [B, T, width], condition [B, 4 width]."""
        scale, shift = self.emb_layers(condition)[:, None].chunk(2, dim=-1)
        result: Tensor = self.out_layers(self.norm(x) * (1 + scale) + shift)
        return result


class _SelfAttention(nn.Module):
    """Attention of frames to frames."""

    def __init__(self, sizes: MotionDiffuseArchitecture) -> None:
        super().__init__()
        self.heads, self.quadratic = sizes.heads, sizes.quadratic
        self.norm = nn.LayerNorm(sizes.width)
        self.query = nn.Linear(sizes.width, sizes.width)
        self.key = nn.Linear(sizes.width, sizes.width)
        self.value = nn.Linear(sizes.width, sizes.width)
        self.proj_out = Stylisation(sizes)

    def forward(self, x: Tensor, condition: Tensor, valid: Tensor) -> Tensor:
        """Of x [B, T, width], condition [B, 4 width], valid [B, T]."""
        frames = self.norm(x)
        query, key, value = (split_heads(project(frames), self.heads) for project in (self.query, self.key, self.value))
        # The public quadratic attention puts its mask on the queries, where the softmax cancels it: no key is masked.
        if self.quadratic:
            attended = quadratic_attention(query, key, value)
        else:
            attended = linear_attention(query, key, value, valid)
        result: Tensor = x + self.proj_out(attended.flatten(-2), condition)
        return result


class _CrossAttention(nn.Module):
    """Attention of frames to the text's tokens, all of them."""

    def __init__(self, sizes: MotionDiffuseArchitecture) -> None:
        super().__init__()
        self.heads, self.quadratic = sizes.heads, sizes.quadratic
        self.norm = nn.LayerNorm(sizes.width)
        self.text_norm = nn.LayerNorm(sizes.text_width)
        self.query = nn.Linear(sizes.width, sizes.width)
        self.key = nn.Linear(sizes.text_width, sizes.width)
        self.value = nn.Linear(sizes.text_width, sizes.width)
        self.proj_out = Stylisation(sizes)

    def forward(self, x: Tensor, text: Tensor, condition: Tensor) -> Tensor:
        """Of x [B, T, width], text [B, L, text_width], condition [B, 4 width]."""
        query, tokens = split_heads(self.query(self.norm(x)), self.heads), self.text_norm(text)
        key, value = (split_heads(project(tokens), self.heads) for project in (self.key, self.value))
        attended = (quadratic_attention if self.quadratic else linear_attention)(query, key, value)
        result: Tensor = x + self.proj_out(attended.flatten(-2), condition)
        return result


class StyledFeedForward(nn.Module):
    """A feed-forward layer with a stylisation block, added to its input."""

    def __init__(self, sizes: MotionDiffuseArchitecture) -> None:
        super().__init__()
        self.linear1 = nn.Linear(sizes.width, sizes.feedforward)
        self.linear2 = nn.Linear(sizes.feedforward, sizes.width)
        self.proj_out = Stylisation(sizes)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Of x [B, T, width], condition [B, 4 width]."""
        result: Tensor = x + self.proj_out(self.linear2(F.gelu(self.linear1(x))), condition)
        return result


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, N, width] by heads: [B, N, H, width / H]."""
    return x.view(*x.shape[:-1], heads, -1)


def linear_attention(query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None = None) -> Tensor:
    """Efficient attention (Shen et al., 2021): softmax of queries over channels, of keys over places.

    Its cost is linear in the number of places.

    Args:
        query: [B, T, H, C].
        key: [B, N, H, C].
        value: [B, N, H, C].
        valid: [B, N] true where a place is to be read; None for all.

    Returns:
        [B, T, H, C].
    """
    if valid is not None:
        hidden = ~valid[:, :, None, None]
        key, value = key.masked_fill(hidden, -math.inf), value.masked_fill(hidden, 0.0)
    summary = torch.einsum("bnhd,bnhl->bhdl", key.softmax(dim=1), value)
    return torch.einsum("bnhd,bhdl->bnhl", query.softmax(dim=-1), summary)


def quadratic_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention of queries [B, T, H, C] to keys and values [B, N, H, C], all of them."""
    scores = torch.einsum("bnhd,bmhd->bnmh", query, key) / math.sqrt(query.shape[-1])
    return torch.einsum("bnmh,bmhd->bnhd", scores.softmax(dim=2), value)
