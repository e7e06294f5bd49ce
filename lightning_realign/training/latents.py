"""The frozen VAE on whose latents a module trains: where it comes from, and its latents of the training split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lightning_realign.checkpoints.folder import is_address, located
from lightning_realign.checkpoints.vae import VAEBundle, load_vae
from lightning_realign.errors import CheckpointError, ConfigError, RealignError
from lightning_realign.motion import Skeleton, skeleton_label, skeleton_reference
from lightning_realign.types import Gaussian

# A latent channel that the VAE leaves unused hardly varies; standardised in full it would be all noise.
LEAST_RELATIVE_SCALE = 0.05


class FrozenVAE:
    """The VAE of a training on latents, and the latents of the training split.

    A checkpoint of such a training holds the VAE, so that a run resumes without the VAE's file.

    Args:
        owner: name of the training class, for messages.
        path: checkpoint of the trained VAE: a file, a folder or a repository, see `lightning_realign.checkpoints.hub`.
        sampled: train on latents drawn from the VAE's Gaussians; off, on their means.
        cached: encode every training motion once, in its fixed crop, rather than a new crop in every step.
    """

    def __init__(self, owner: str, path: str | None, *, sampled: bool = False, cached: bool = False) -> None:
        self.owner, self.path, self.sampled, self.cached = owner, path, sampled, cached
        self._cache: dict[str, Gaussian] = {}

    def read(self, skeleton: Skeleton) -> VAEBundle | None:
        """The VAE of the file; None where there is no file.

        Raises:
            CheckpointError: the file cannot be read, or its VAE is for another skeleton.
        """
        if self.path is None or not (is_address(self.path) or located(self.path).path.exists()):
            return None
        bundle = load_vae(self.path)
        if bundle.skeleton != skeleton_reference(skeleton):
            raise CheckpointError(
                f"{self.path}: is for skeleton {skeleton_label(bundle.skeleton)!r}, {self.owner}.skeleton is "
                f"{skeleton.name!r}: set it to the VAE's"
            )
        return bundle

    def missing(self) -> RealignError:
        """The error of a training whose VAE has come from nowhere."""
        if self.path is None:
            return ConfigError(f"{self.owner}.vae is not set; give the checkpoint of a trained VAE")
        return CheckpointError(f"{self.path}: no such VAE checkpoint; train one first, or correct {self.owner}.vae")

    def measure(self, latents: Iterable[Gaussian]) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [n, d] of the training split's latents [B, n, d], as training will use them."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for latent in latents:
            mean, variance = latent.mean.double().cpu(), latent.logvar.exp().double().cpu()
            count += len(mean)
            total = total + mean.sum(dim=0)
            squares = squares + (mean.square() + variance * self.sampled).sum(dim=0)
        shift = total / count
        scale = (squares / count - shift.square()).clamp_min(0.0).sqrt()
        floor = LEAST_RELATIVE_SCALE * scale.square().mean().sqrt()
        return shift.float(), scale.clamp_min(floor).float()

    def fill_cache(self, latents: Iterable[tuple[Sequence[str], Gaussian]]) -> None:
        """Keep the latents [B, n, d] of batches with these ids."""
        self._cache = {
            sample: Gaussian(mean, logvar)
            for ids, latent in latents
            for sample, mean, logvar in zip(ids, latent.mean, latent.logvar, strict=True)
        }

    def from_cache(self, ids: Sequence[str]) -> Gaussian | None:
        """The kept latents [B, n, d] of these training motions; None where no cache was filled."""
        if not self._cache:
            return None
        found = [self._cache[sample] for sample in ids]
        return Gaussian(torch.stack([one.mean for one in found]), torch.stack([one.logvar for one in found]))
