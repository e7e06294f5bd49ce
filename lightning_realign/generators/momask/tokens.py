"""How MoMask draws tokens: masked ones by confidence, then each further codebook at once (arXiv 2312.00063, sec. 3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lightning_realign.errors import ConfigError
from lightning_realign.models.published.momask import MaskedTransformer, ResidualTransformer
from lightning_realign.models.published.residual_vq import NO_TOKEN
from lightning_realign.types import valid_mask

GumbelNoise = Callable[[int], Tensor]
"""Number of choices K -> standard Gumbel noise [B, n, K], fresh at each call."""


@dataclass(frozen=True)
class TokenSampling:
    """How tokens are drawn; the defaults are the published evaluation's on HumanML3D.

    Attributes:
        steps: in how many rounds the masked tokens are filled in.
        cfg_scale: scale of classifier-free guidance there; 1 is purely conditional, at half the cost.
        residual_cfg_scale: the same for the further codebooks.
        kept: a token is drawn from this share of all tokens, the likeliest ones.

    Raises:
        ConfigError: a setting out of range.
    """

    steps: int = 10
    cfg_scale: float = 4.0
    residual_cfg_scale: float = 5.0
    kept: float = 0.1

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"generator steps={self.steps}: need at least 1 round of unmasking")
        for scale in (self.cfg_scale, self.residual_cfg_scale):
            if not math.isfinite(scale):
                raise ConfigError(f"generator cfg_scale={scale} is not finite; give a number, 1 for no guidance")
        if not 0 < self.kept <= 1:
            raise ConfigError(f"generator kept={self.kept}: need a share above 0, up to 1")

    def evaluations(self, quantizers: int) -> int:
        """Evaluations of the two transformers for each motion with tokens of Q codebooks."""
        masked, residual = (1 if scale == 1 else 2 for scale in (self.cfg_scale, self.residual_cfg_scale))
        return self.steps * masked + (quantizers - 1) * residual


@torch.no_grad()
def draw_tokens(
    masked: MaskedTransformer,
    residual: ResidualTransformer,
    text: Tensor,
    counts: Tensor,
    noise: GumbelNoise,
    settings: TokenSampling,
) -> Tensor:
    """Tokens [B, n, Q] for text [B, E]: `NO_TOKEN` beyond a motion's `counts` [B] and where the network gives none."""
    own = valid_mask(counts, int(counts.max()))
    layers = [_fill_masked(masked, text, counts, noise, settings)]
    history = text.new_zeros(())
    for layer in range(1, residual.quantizers):
        history = history + residual.embed(layers[-1].where(own, residual.pad), layer - 1)
        logits = _with_cfg(partial(residual, layer), history, text, counts, settings.residual_cfg_scale)
        layers.append(_chosen(logits, noise, settings.kept))
    tokens = torch.stack(layers, dim=-1)
    return tokens.masked_fill(~own[..., None] | (tokens == residual.pad), NO_TOKEN)


def _fill_masked(
    transformer: MaskedTransformer, text: Tensor, counts: Tensor, noise: GumbelNoise, settings: TokenSampling
) -> Tensor:
    """Tokens [B, n] of the first codebook. Each round draws the least likely of the last round's tokens again."""
    own = valid_mask(counts, int(counts.max()))
    tokens = torch.where(own, transformer.mask, transformer.pad)
    scores = torch.where(own, 0.0, torch.inf)
    for share in masked_shares(settings.steps):
        ranks = scores.argsort(dim=1, stable=True).argsort(dim=1)
        hidden = ranks < (share * counts).round().clamp_min(1)[:, None]
        tokens = torch.where(hidden, transformer.mask, tokens)
        logits = _with_cfg(transformer, tokens, text, counts, settings.cfg_scale)
        drawn = _chosen(logits, noise, settings.kept)
        tokens = torch.where(hidden, drawn, tokens)
        likelihood = logits.softmax(dim=-1).gather(2, drawn[..., None])[..., 0]
        scores = likelihood.masked_fill(~hidden, torch.inf)
    return tokens


def masked_shares(steps: int) -> list[float]:
    """The share of tokens that each round masks, from 1 along a quarter of a cosine.

    In float32, as published: the rounded number of tokens depends on the precision.
    """
    shares: list[float] = (torch.linspace(0, 1, steps) * math.pi * 0.5).cos().tolist()
    return shares


def _with_cfg(
    network: Callable[[Tensor, Tensor, Tensor], Tensor], x: Tensor, text: Tensor, counts: Tensor, scale: float
) -> Tensor:
    """Logits with classifier-free guidance. A text of zeros stands for no text."""
    if scale == 1:
        return network(x, text, counts)
    both = network(torch.cat((x, x)), torch.cat((torch.zeros_like(text), text)), counts.repeat(2))
    without, given = both.chunk(2)
    return without + scale * (given - without)


def _chosen(logits: Tensor, noise: GumbelNoise, kept: float) -> Tensor:
    """Tokens [B, n] drawn from the likeliest choices: the largest logit with Gumbel noise is a draw of the softmax."""
    choices = logits.shape[-1]
    values, tokens = logits.topk(math.ceil(kept * choices), dim=-1)
    noisy = values + noise(choices).gather(-1, tokens)
    return tokens.gather(-1, noisy.argmax(dim=-1, keepdim=True))[..., 0]
