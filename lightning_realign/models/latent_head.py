"""MARDM's denoising network of one code at a time (Meng et al., arXiv 2411.16575; github.com/neu-vi/MARDM).

A code's condition is a transformer's output at its place. The network is the one of MAR (Li et al., arXiv 2406.11838).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_realign.models.blocks import sinusoid

_FREQUENCIES = 256
_EPSILON = 1e-6


class _StepEmbedding(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """Embeddings [M, width] of times or steps [M]."""
        result: Tensor = self.mlp(sinusoid(t, _FREQUENCIES).to(next(self.parameters()).dtype))
        return result


class _HeadBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_ln = nn.LayerNorm(width, eps=_EPSILON)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Transform x [M, width]."""
        shift, scale, gate = self.adaLN_modulation(condition).chunk(3, dim=-1)
        result: Tensor = x + gate * self.mlp(self.in_ln(x) * (1 + scale) + shift)
        return result


class _HeadOutput(nn.Module):
    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """[M, width] to [M, channels]."""
        shift, scale = self.adaLN_modulation(condition).chunk(2, dim=-1)
        normed = F.layer_norm(x, x.shape[-1:], eps=_EPSILON)
        result: Tensor = self.linear(normed * (1 + scale) + shift)
        return result


class LatentHead(nn.Module):
    """Predicts the velocity, or the noise, of noisy codes.

    Args:
        code_size: channels of a code.
        condition_size: of what it is conditioned on.
        width: channels inside.
        blocks: residual blocks.
    """

    def __init__(self, code_size: int, condition_size: int, width: int = 1792, blocks: int = 16) -> None:
        super().__init__()
        self.time_embed = _StepEmbedding(width)
        self.cond_embed = nn.Linear(condition_size, width)
        self.input_proj = nn.Linear(code_size, width)
        self.res_blocks = nn.ModuleList(_HeadBlock(width) for _ in range(blocks))
        self.final_layer = _HeadOutput(width, code_size)

    def forward(self, x: Tensor, t: float, condition: Tensor) -> Tensor:
        """Output [M, code_size] for codes x [M, code_size] at time or step t, given conditions [M, condition_size]."""
        times = torch.full((1,), t, dtype=torch.float64, device=x.device)
        condition = self.time_embed(times) + self.cond_embed(condition)
        x = self.input_proj(x)
        for block in self.res_blocks:
            x = block(x, condition)
        result: Tensor = self.final_layer(x, condition)
        return result
