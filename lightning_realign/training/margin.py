"""The contrastive margin objective (Hadsell et al., CVPR 2006, as Guo et al., CVPR 2022, use it), as pure functions.

Symbols: B batch, P pairs, W width of embeddings.
"""

from __future__ import annotations

import torch
from torch import Tensor


def draw_mismatches(captions: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One motion at random for each caption, never one whose caption is the same text.

    Args:
        captions: [B] integers, equal for equal texts.
        generator: of the random numbers; None uses the global random state of the CPU.

    Returns:
        Pairs [P, 2] of a caption's index and a motion's. P < B where the whole batch has one caption's text.
    """
    other = captions[:, None] != captions[None, :]
    places = other.any(dim=1).nonzero().squeeze(1)
    if not len(places):
        return torch.empty(0, 2, dtype=torch.int64, device=captions.device)
    drawn = torch.multinomial(other[places].float().cpu(), 1, generator=generator).to(captions.device)
    return torch.cat((places[:, None], drawn), dim=1)


def every_mismatch(captions: Tensor) -> Tensor:
    """All pairs [P, 2] of a caption and a motion whose caption is another text; captions [B] as above."""
    return (captions[:, None] != captions[None, :]).nonzero()


def margin_losses(text: Tensor, motion: Tensor, pairs: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """The two terms: mean d^2 over matching pairs, and mean max(0, margin - d)^2 over mismatched ones.

    Args:
        text: [B, W] embeddings of captions; entry i belongs to entry i of `motion`.
        motion: [B, W] embeddings of motions.
        pairs: [P, 2] mismatched pairs of a caption's index and a motion's; none make the second term 0.
        margin: distance from which on a mismatched pair costs nothing.

    Returns:
        Two scalars.
    """
    # Half precision would lose the digits of distances near the margin.
    with torch.autocast(device_type=text.device.type, enabled=False):
        text, motion = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (text, motion))
        positive = (text - motion).square().sum(dim=1).mean()
        distances = torch.linalg.vector_norm(text[pairs[:, 0]] - motion[pairs[:, 1]], dim=1)
        shortfall = (margin - distances).clamp_min(0.0).square()
        return positive, shortfall.sum() / max(1, len(pairs))
