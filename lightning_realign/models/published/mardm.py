"""MARDM's networks (Meng et al., "Rethinking Diffusion for Text-Driven Human Motion Generation", arXiv 2411.16575).

Modules and parameters have the names of github.com/neu-vi/MARDM: an autoencoder of motions, and a transformer over
its codes, some of them masked, whose outputs condition a denoising network of single codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_realign.errors import ConfigError
from lightning_realign.models.latent_head import LatentHead
from lightning_realign.models.published.momask import CodeInput, TablePositions
from lightning_realign.models.published.motion_codec import (
    CodecArchitecture,
    MotionDecoder,
    MotionEncoder,
    decode_codes,
    encode_motions,
)
from lightning_realign.types import valid_mask

_EPSILON = 1e-6


class MotionAutoencoder(nn.Module):
    """Motions, in its own normalisation, to codes and back.

    Args:
        num_features: D.
        sizes: of encoder and decoder.
    """

    def __init__(self, num_features: int, sizes: CodecArchitecture | None = None) -> None:
        super().__init__()
        self.num_features = num_features
        self.sizes = sizes if sizes is not None else CodecArchitecture()
        self.encoder = MotionEncoder(num_features, self.sizes)
        self.decoder = MotionDecoder(num_features, self.sizes)

    def encode(self, motion: Tensor, lengths: Tensor) -> Tensor:
        """Codes [B, n, code_size] of motions [B, T, D] of `lengths` [B]; zero beyond a motion's own."""
        return encode_motions(self.encoder, motion, lengths, self.sizes.frames_per_code)

    def decode(self, codes: Tensor, counts: Tensor) -> Tensor:
        """Motions [B, 4 n, D] of codes [B, n, code_size], of which `counts` [B] are a motion's own; differentiable."""
        return decode_codes(self.decoder, codes, counts)


@dataclass(frozen=True)
class MARDMArchitecture:
    """Sizes of MARDM's transformer and of its denoising network; the defaults are the published XL ones.

    Attributes:
        width, layers, heads, feedforward: of the transformer; the heads divide the width.
        text_size: channels of a caption's embedding.
        max_codes: rows of the position table.
        head_width, head_blocks: of the denoising network.

    Raises:
        ConfigError: sizes that contradict each other.
    """

    width: int = 1024
    layers: int = 1
    heads: int = 16
    feedforward: int = 4096
    text_size: int = 512
    max_codes: int = 5000
    head_width: int = 1792
    head_blocks: int = 16

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ConfigError(f"{name}={value}: must be at least 1")
        if self.width % 2 or self.width % self.heads:
            raise ConfigError(f"width={self.width}: must be even and a multiple of heads={self.heads}")


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.key, self.query, self.value = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Attend in x [B, n, width] to the places that are `valid` [B, n]."""
        key, query, value = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.key, self.query, self.value)
        )
        logits = query @ key.mT / key.shape[-1] ** 0.5
        weights = logits.masked_fill(~valid[:, None, None, :], -torch.inf).softmax(dim=-1)
        result: Tensor = self.proj((weights @ value).transpose(1, 2).flatten(2))
        return result


class _FeedForward(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform x [..., width]."""
        result: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return result


class _Block(nn.Module):
    """Attention and feed-forward layers whose norms and gates the caption sets."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.attn = _Attention(width, heads)
        self.mlp = _FeedForward(width, inner)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, text: Tensor, valid: Tensor) -> Tensor:
        """Transform x [B, n, width], given text [B, width]."""
        shift, scale, gate, shift_2, scale_2, gate_2 = self.adaLN_modulation(text)[:, None].chunk(6, dim=2)
        x = x + gate * self.attn(_normed(x) * (1 + scale) + shift, valid)
        result: Tensor = x + gate_2 * self.mlp(_normed(x) * (1 + scale_2) + shift_2)
        return result


def _normed(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=_EPSILON)


class _Heads(nn.Module):
    def __init__(self, net: LatentHead) -> None:
        super().__init__()
        self.net = net


class MaskedCodeTransformer(nn.Module):
    """Conditions for the codes of a motion, some of them masked, and the network that denoises codes given those.

    Args:
        code_size: channels of a code.
        sizes: of the networks.

    Attributes:
        mask_latent: [1, 1, code_size] what stands for a masked code.
    """

    def __init__(self, code_size: int, sizes: MARDMArchitecture | None = None) -> None:
        super().__init__()
        sizes = sizes if sizes is not None else MARDMArchitecture()
        self.sizes = sizes
        self.input_process = CodeInput(code_size, sizes.width)
        self.position_enc = TablePositions(sizes.max_codes, sizes.width)
        self.MARTransformer = nn.ModuleList(
            _Block(sizes.width, sizes.heads, sizes.feedforward) for _ in range(sizes.layers)
        )
        self.cond_emb = nn.Linear(sizes.text_size, sizes.width)
        self.mask_latent = nn.Parameter(torch.zeros(1, 1, code_size))
        self.DiffMLPs = _Heads(LatentHead(code_size, sizes.width, sizes.head_width, sizes.head_blocks))

    @property
    def head(self) -> LatentHead:
        """The denoising network."""
        return self.DiffMLPs.net

    def forward(self, codes: Tensor, text: Tensor, counts: Tensor) -> Tensor:
        """Conditions [B, n, width] for codes [B, n, code_size].

        Args:
            codes: with `mask_latent` where they are masked.
            text: [B, E]; zeros stand for no text.
            counts: [B] how many of the codes are a motion's own.
        """
        x = self.position_enc(self.input_process(codes.transpose(0, 1))).transpose(0, 1)
        text, valid = self.cond_emb(text), valid_mask(counts, x.shape[1])
        for block in self.MARTransformer:
            x = block(x, text, valid)
        result: Tensor = x
        return result
