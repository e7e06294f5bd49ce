"""MoMask's residual VQ autoencoder (Guo et al., arXiv 2312.00063; github.com/EricGuo5513/momask-codes)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_realign.errors import ConfigError
from lightning_realign.models.published.motion_codec import (
    CodecArchitecture,
    MotionDecoder,
    MotionEncoder,
    code_lengths,
    decode_codes,
    encode_motions,
)

# Stands for no token: the quantiser adds nothing there.
NO_TOKEN = -1


class _Codebook(nn.Module):
    codebook: Tensor

    def __init__(self, tokens: int, code_size: int) -> None:
        super().__init__()
        self.register_buffer("codebook", torch.zeros(tokens, code_size))

    def nearest(self, codes: Tensor) -> Tensor:
        """The token [...] of the entry nearest to each code [..., C]."""
        products = codes @ self.codebook.T
        return (self.codebook.square().sum(dim=1) - 2 * products).argmin(dim=-1)

    def forward(self, tokens: Tensor) -> Tensor:
        """The entries [..., C] of tokens [...], zero where there is none."""
        entries = F.embedding(tokens.clamp_min(0), self.codebook)
        return entries.masked_fill((tokens == NO_TOKEN)[..., None], 0.0)


class _ResidualQuantiser(nn.Module):
    """Each layer quantises what the layers before it have left."""

    def __init__(self, layers: int, tokens: int, code_size: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Codebook(tokens, code_size) for _ in range(layers))

    def quantise(self, codes: Tensor) -> Tensor:
        """Tokens [B, n, Q] of codes [B, n, C]."""
        tokens = []
        for layer in self.layers:
            nearest = cast(_Codebook, layer).nearest(codes)
            tokens.append(nearest)
            codes = codes - layer(nearest)
        return torch.stack(tokens, dim=-1)

    def forward(self, tokens: Tensor) -> Tensor:
        """The sum [B, n, C] of the entries of tokens [B, n, Q]."""
        return torch.stack([layer(tokens[..., place]) for place, layer in enumerate(self.layers)]).sum(dim=0)


class ResidualVQVAE(nn.Module):
    """Motions, in its own normalisation, to tokens and back.

    Args:
        num_features: D.
        tokens: entries of each codebook.
        quantizers: Q, codebooks.
        sizes: of encoder and decoder.

    Raises:
        ConfigError: a size below 1.
    """

    def __init__(
        self, num_features: int, tokens: int = 512, quantizers: int = 6, sizes: CodecArchitecture | None = None
    ) -> None:
        super().__init__()
        if min(num_features, tokens, quantizers) < 1:
            raise ConfigError(
                f"num_features={num_features}, tokens={tokens}, quantizers={quantizers}: each must be at least 1"
            )
        self.num_features, self.tokens, self.quantizers = num_features, tokens, quantizers
        self.sizes = sizes if sizes is not None else CodecArchitecture()
        self.encoder = MotionEncoder(num_features, self.sizes)
        self.decoder = MotionDecoder(num_features, self.sizes)
        self.quantizer = _ResidualQuantiser(quantizers, tokens, self.sizes.code_size)

    def encode(self, motion: Tensor, lengths: Tensor) -> Tensor:
        """Tokens [B, n, Q] of motions [B, T, D] of `lengths` [B]; `NO_TOKEN` beyond a motion's own."""
        frames = self.sizes.frames_per_code
        tokens = self.quantizer.quantise(encode_motions(self.encoder, motion, lengths, frames))
        counts = code_lengths(lengths.to(tokens.device), frames)
        beyond = torch.arange(tokens.shape[1], device=tokens.device) >= counts[:, None]
        return tokens.masked_fill(beyond[..., None], NO_TOKEN)

    def decode(self, tokens: Tensor, counts: Tensor) -> Tensor:
        """Motions [B, 4 n, D] of tokens [B, n, Q], of which `counts` [B] are a motion's own; zero beyond those."""
        return decode_codes(self.decoder, self.quantizer(tokens), counts)
