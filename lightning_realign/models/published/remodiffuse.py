"""The denoiser of ReMoDiffuse (Zhang et al., ICCV 2023, arXiv 2304.01116; github.com/mingyuan-zhang/ReMoDiffuse).

A transformer over the frames of a normalised motion, whose attention reads frames, the caption's tokens and motions
that were retrieved for the caption at once. Module and parameter names are the public checkpoints'.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_realign.errors import FeatureSpecError
from lightning_realign.models.blocks import sinusoid
from lightning_realign.models.published.motiondiffuse import (
    MotionDiffuseArchitecture,
    StyledFeedForward,
    Stylisation,
    linear_attention,
    split_heads,
)
from lightning_realign.types import valid_mask


@dataclass(frozen=True)
class ReMoDiffuseArchitecture(MotionDiffuseArchitecture):
    """Sizes of `ReMoDiffuseDenoiser`; the defaults are the published ones, of both data sets.

    Those of MotionDiffuse, whose attention is always linear here, and: retrieved: motions that are read per caption.
    stride: of an encoded retrieved motion, every such frame is read. retrieval_motion_layers, retrieval_text_layers: of
    the transformers that encode retrieved motions and their captions; those captions' hidden states have `width`
    channels.
    """

    layers: int = 4
    text_layers: int = 2
    retrieved: int = 2
    stride: int = 4
    retrieval_motion_layers: int = 2
    retrieval_text_layers: int = 2


@dataclass(frozen=True)
class RetrievedMotions:
    """What the denoiser makes of k retrieved motions per sample.

    features: [B, N, 2 width] places of the motions, each beside its caption. valid: [B, N].
    """

    features: Tensor
    valid: Tensor

    def rows(self, places: Tensor) -> RetrievedMotions:
        """The retrieved motions of some samples."""
        return RetrievedMotions(self.features[places], self.valid[places])


class ReMoDiffuseDenoiser(nn.Module):
    """Predicts clean normalised motions from noisy ones, the timestep, a caption and retrieved motions.

    Padding is left out everywhere.

    Args:
        num_features: D of a frame.
        sizes: the published ones by default.
    """

    def __init__(self, num_features: int, sizes: ReMoDiffuseArchitecture | None = None) -> None:
        super().__init__()
        sizes = sizes or ReMoDiffuseArchitecture()
        width, condition = sizes.width, sizes.condition_width
        self.num_features, self.architecture = num_features, sizes
        # Of the copy of CLIP in the checkpoints, this alone is read: with it, captions are compared.
        self.clip = nn.ParameterDict({"text_projection": torch.randn(sizes.text_size, sizes.text_size)})
        self.sequence_embedding = nn.Parameter(torch.randn(sizes.max_frames, width))
        self.text_pre_proj = nn.Linear(sizes.text_size, sizes.text_width)
        self.textTransEncoder = _text_transformer(
            sizes.text_width, sizes.text_heads, sizes.text_feedforward, sizes.text_layers
        )
        self.text_ln = nn.LayerNorm(sizes.text_width)
        self.joint_embed = nn.Linear(num_features, width)
        self.time_embed = nn.Sequential(nn.Linear(width, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.temporal_decoder_blocks = nn.ModuleList(_Block(sizes) for _ in range(sizes.layers))
        self.out = nn.Linear(width, num_features)
        self.database = RetrievalEncoder(num_features, sizes)

    def search_features(self, sentence: Tensor) -> Tensor:
        """What captions are compared by [B, text_size]: CLIP's hidden states [B, text_size] at the ends, projected."""
        return torch.matmul(sentence, self.clip["text_projection"])

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Read captions, once for all steps.

        Args:
            tokens: [B, 77, text_size] CLIP's hidden states after its final LayerNorm, of the zero-padded sequence; all
                of them are read.

        Returns:
            [B, 77, text_width].

        Raises:
            FeatureSpecError: tokens of another size.
        """
        if tokens.dim() != 3 or tokens.shape[2] != self.architecture.text_size:
            raise FeatureSpecError(
                f"text tokens {tuple(tokens.shape)}: the denoiser expects [B, L, {self.architecture.text_size}]"
            )
        sequence = self.textTransEncoder(self.text_pre_proj(tokens).transpose(0, 1))
        encoded: Tensor = self.text_ln(sequence).transpose(0, 1)
        return encoded

    def forward(
        self, x: Tensor, t: Tensor, text: Tensor, found: RetrievedMotions, lengths: Tensor, reads: Tensor
    ) -> Tensor:
        """Predict the clean motions.

        Args:
            x: [B, T, D] noisy normalised motions.
            t: [B] indices of the diffusion steps, from 0.
            text: [B, L, text_width] captions, from `encode_text`.
            found: of B samples, from `database`.
            lengths: [B] frames.
            reads: [B, 2] whether a sample reads its caption, and its retrieved motions.

        Returns:
            [B, T, D]; beyond a sample's length it means nothing.

        Raises:
            FeatureSpecError: motions of another size, or longer than the position table.
        """
        if x.dim() != 3 or x.shape[2] != self.num_features:
            raise FeatureSpecError(
                f"motions {tuple(x.shape)}: this ReMoDiffuse model expects [B, T, {self.num_features}]"
            )
        frames, rows = x.shape[1], len(self.sequence_embedding)
        if frames > rows:
            raise FeatureSpecError(f"a motion of {frames} frames: this ReMoDiffuse model makes at most {rows}")
        condition = self.time_embed(sinusoid(t, self.architecture.width).to(x.dtype))
        hidden = self.joint_embed(x) + self.sequence_embedding[:frames]
        valid = torch.cat(
            [
                reads[:, :1].expand(-1, text.shape[1]),
                reads[:, 1:] & found.valid,
                valid_mask(lengths.to(x.device), frames),
            ],
            dim=1,
        )
        for block in self.temporal_decoder_blocks:
            hidden = block(hidden, text, found.features, condition, valid)
        result: Tensor = self.out(hidden)
        return result


class RetrievalEncoder(nn.Module):
    """Encodes retrieved motions and their captions, once for all steps."""

    def __init__(self, num_features: int, sizes: ReMoDiffuseArchitecture) -> None:
        super().__init__()
        self.stride = sizes.stride
        self.motion_proj = nn.Linear(num_features, sizes.width)
        self.motion_pos_embedding = nn.Parameter(torch.randn(sizes.max_frames, sizes.width))
        self.motion_encoder_blocks = nn.ModuleList(_EncoderBlock(sizes) for _ in range(sizes.retrieval_motion_layers))
        self.text_encoder = _text_transformer(sizes.width, sizes.heads, sizes.feedforward, sizes.retrieval_text_layers)

    def forward(self, motions: Tensor, lengths: Tensor, tokens: Tensor) -> RetrievedMotions:
        """Encode k motions per sample.

        Args:
            motions: [B, k, T, D] normalised, T at most `max_frames`; what lies beyond a length is not read.
            lengths: [B, k] frames.
            tokens: [B, k, 77, width] CLIP's hidden states of their captions; of their encoding, the last is taken.
        """
        batch, frames = len(motions), motions.shape[2]
        valid = valid_mask(lengths.flatten(), frames)
        hidden = self.motion_proj(motions.flatten(0, 1)) + self.motion_pos_embedding[:frames]
        for block in self.motion_encoder_blocks:
            hidden = block(hidden, valid)
        hidden, valid = hidden[:, :: self.stride], valid[:, :: self.stride]
        text = self.text_encoder(tokens.flatten(0, 1).transpose(0, 1))[-1]
        features = torch.cat([hidden, text[:, None].expand_as(hidden)], dim=-1)
        return RetrievedMotions(features.reshape(batch, -1, features.shape[-1]), valid.reshape(batch, -1))


def _text_transformer(width: int, heads: int, feedforward: int, layers: int) -> nn.TransformerEncoder:
    # Sequence-first, as published: batch-first layers would take fused kernels where no gradient is needed.
    layer = nn.TransformerEncoderLayer(width, heads, feedforward, dropout=0.0, activation="gelu")
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


class _EncoderBlock(nn.Module):
    """Attention of a retrieved motion's frames to each other, and feed-forward, each added to its input."""

    def __init__(self, sizes: ReMoDiffuseArchitecture) -> None:
        super().__init__()
        self.sa_block = _SelfAttention(sizes)
        self.ffn = _FeedForward(sizes)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Of x [B, T, width], valid [B, T]."""
        result: Tensor = self.ffn(self.sa_block(x, valid))
        return result


class _SelfAttention(nn.Module):
    def __init__(self, sizes: ReMoDiffuseArchitecture) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.norm = nn.LayerNorm(sizes.width)
        self.query = nn.Linear(sizes.width, sizes.width)
        self.key = nn.Linear(sizes.width, sizes.width)
        self.value = nn.Linear(sizes.width, sizes.width)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Of x [B, T, width], valid [B, T]."""
        frames = self.norm(x)
        query, key, value = (split_heads(project(frames), self.heads) for project in (self.query, self.key, self.value))
        return x + linear_attention(query, key, value, valid).flatten(-2)


class _FeedForward(nn.Module):
    def __init__(self, sizes: ReMoDiffuseArchitecture) -> None:
        super().__init__()
        self.linear1 = nn.Linear(sizes.width, sizes.feedforward)
        self.linear2 = nn.Linear(sizes.feedforward, sizes.width)

    def forward(self, x: Tensor) -> Tensor:
        """Of x [B, T, width]."""
        result: Tensor = x + self.linear2(F.gelu(self.linear1(x)))
        return result


class _Block(nn.Module):
    """Attention to text, retrieved motions and frames, and feed-forward; each conditioned, each added to its input."""

    def __init__(self, sizes: ReMoDiffuseArchitecture) -> None:
        super().__init__()
        self.ca_block = _ModulatedAttention(sizes)
        self.ffn = StyledFeedForward(sizes)

    def forward(self, x: Tensor, text: Tensor, found: Tensor, condition: Tensor, valid: Tensor) -> Tensor:
        """Of x [B, T, width], text [B, L, text_width], found [B, N, 2 width], condition, valid [B, L + N + T]."""
        result: Tensor = self.ffn(self.ca_block(x, text, found, condition, valid), condition)
        return result


class _ModulatedAttention(nn.Module):
    """Semantics-modulated attention: one linear attention of frames to text, retrieved motions and frames."""

    def __init__(self, sizes: ReMoDiffuseArchitecture) -> None:
        super().__init__()
        width = sizes.width
        self.heads, self.width = sizes.heads, width
        self.norm = nn.LayerNorm(width)
        self.text_norm = nn.LayerNorm(sizes.text_width)
        self.query = nn.Linear(width, width)
        self.key_text = nn.Linear(sizes.text_width, width)
        self.value_text = nn.Linear(sizes.text_width, width)
        self.key_motion = nn.Linear(width, width)
        self.value_motion = nn.Linear(width, width)
        self.retr_norm1 = nn.LayerNorm(2 * width)
        self.retr_norm2 = nn.LayerNorm(width)
        self.key_retr = nn.Linear(2 * width, width)
        self.value_retr = nn.Linear(width, width)
        self.proj_out = Stylisation(sizes)

    def forward(self, x: Tensor, text: Tensor, found: Tensor, condition: Tensor, valid: Tensor) -> Tensor:
        """As `_Block`. A retrieved motion's caption takes part in the keys only."""
        frames, words = self.norm(x), self.text_norm(text)
        keys = [self.key_text(words), self.key_retr(self.retr_norm1(found)), self.key_motion(frames)]
        past = self.retr_norm2(found[..., : self.width])
        values = [self.value_text(words), self.value_retr(past), self.value_motion(frames)]
        query, key, value = (
            split_heads(part, self.heads) for part in (self.query(frames), torch.cat(keys, 1), torch.cat(values, 1))
        )
        attended = linear_attention(query, key, value, valid)
        result: Tensor = x + self.proj_out(attended.flatten(-2), condition)
        return result
