"""The loss terms of Algorithm 1 (ReAlign, arXiv 2511.19217) and of the motion VAE, as pure functions.

Symbols: B batch, T frames, D features, W latent width. A mean over a motion runs over its own frames alone, then over
the batch, so that padding and the lengths of other samples never weigh in.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_realign.types import Gaussian, valid_mask


def masked_mean(values: Tensor, lengths: Tensor) -> Tensor:
    """Mean over each sample's valid frames and all trailing axes, [B].

    Args:
        values: [B, T, ...]; what lies beyond a length is ignored.
        lengths: [B], at least 1.
    """
    per_frame = values.flatten(2).mean(dim=2) if values.dim() > 2 else values
    valid = valid_mask(lengths, values.shape[1])
    return per_frame.masked_fill(~valid, 0.0).sum(dim=1) / lengths


def masked_smooth_l1(prediction: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """Smooth L1 between [B, T, ...] tensors: mean over a sample's valid entries, then over samples; a scalar."""
    return masked_mean(F.smooth_l1_loss(prediction, target, reduction="none"), lengths).mean()


def gaussian_kl(first: Gaussian, second: Gaussian) -> Tensor:
    """KL(first || second) of diagonal Gaussians, averaged over all entries; a scalar."""
    ratio = (first.logvar - second.logvar).exp()
    distance = (first.mean - second.mean).square() * (-second.logvar).exp()
    return 0.5 * (ratio + distance - 1.0 - first.logvar + second.logvar).mean()


def standard_kl(gaussian: Gaussian) -> Tensor:
    """KL(gaussian || N(0, I)), averaged over all entries; a scalar."""
    return gaussian_kl(gaussian, Gaussian(torch.zeros_like(gaussian.mean), torch.zeros_like(gaussian.logvar)))


def cross_modal_kl(motion: Gaussian, text: Gaussian) -> Tensor:
    """The sum of TEMOS's four divergences: text to motion, motion to text, and each to the standard normal."""
    return gaussian_kl(text, motion) + gaussian_kl(motion, text) + standard_kl(motion) + standard_kl(text)


def info_nce(motion: Tensor, text: Tensor, sentences: Tensor, temperature: float, threshold: float) -> Tensor:
    """Symmetric InfoNCE on the cosine of motion and text latents, without the pairs that are no true negatives.

    Args:
        motion: [B, W] motion latents; entry i belongs to entry i of the others.
        text: [B, W] text latents.
        sentences: [B, S] sentence embeddings of the captions.
        temperature: divides the cosines.
        threshold: captions whose sentence cosine exceeds this mean the same, so that their pair is left out (TMR's
            filtering of false negatives).

    Returns:
        A scalar: the mean of both directions.
    """
    # Half precision would round a cosine by up to 0.004, which the temperature then magnifies.
    with torch.autocast(device_type=motion.device.type, enabled=False):
        cosines = F.normalize(_at_least_float32(motion), dim=-1) @ F.normalize(_at_least_float32(text), dim=-1).T
        directions = F.normalize(_at_least_float32(sentences), dim=-1)
        same = directions @ directions.T > threshold
        same.fill_diagonal_(False)
        logits = (cosines / temperature).masked_fill(same, -torch.inf)
        own = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
