"""Training of the motion VAE (MLD, Chen et al., CVPR 2023)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_realign.checkpoints.vae import vae_spec
from lightning_realign.errors import ConfigError
from lightning_realign.models import MotionVAE, VAEArchitecture
from lightning_realign.motion import recover_joints, skeleton_reference
from lightning_realign.settings.plain import restored
from lightning_realign.settings.training import OptimiserConfig
from lightning_realign.training.base import TrainingModule
from lightning_realign.training.losses import masked_mean, masked_smooth_l1, standard_kl
from lightning_realign.training.principal import start_from_motions
from lightning_realign.types import Gaussian, MotionTextBatch

PUBLISHED_NETWORK = VAEArchitecture()


class VAETraining(TrainingModule):
    """Fits a `MotionVAE`: smooth L1 on normalised features and joint positions, L1 on joint velocities, a KL term.

    Args:
        skeleton: feature spec of the motions.
        network: sizes of the VAE; the default is MLD's.
        kl_weight: of the divergence from the standard normal.
        joint_weight: of the smooth L1 between joint positions in metres, also where the skeleton's unit is another.
        velocity_weight: of the L1 between joint velocities in m/s. Sliding feet and trembling joints move by
            millimetres, which the other terms hardly see.
        optimiser: learning rate, warm-up and weight decay.
        principal_init: start the frame embedding from the training split's principal components, see `principal`.
        seed: of training.

    Raises:
        ConfigError: a setting out of range.
    """

    def __init__(
        self,
        skeleton: str = "humanml3d",
        network: VAEArchitecture = PUBLISHED_NETWORK,
        kl_weight: float = 1e-4,
        joint_weight: float = 1.0,
        velocity_weight: float = 0.0,
        optimiser: OptimiserConfig = OptimiserConfig(),  # noqa: B008 - frozen
        principal_init: bool = False,
        seed: int = 1234,
    ) -> None:
        super().__init__("vae", skeleton, restored(OptimiserConfig, optimiser), seed)
        self.save_settings(
            skeleton=skeleton,
            network=network,
            kl_weight=kl_weight,
            joint_weight=joint_weight,
            velocity_weight=velocity_weight,
            optimiser=optimiser,
            principal_init=principal_init,
            seed=seed,
        )
        weights = {"kl_weight": kl_weight, "joint_weight": joint_weight, "velocity_weight": velocity_weight}
        for name, weight in weights.items():
            if weight < 0:
                raise ConfigError(f"VAETraining.{name} is {weight}; set it to 0 or more")
        self.kl_weight, self.joint_weight, self.velocity_weight = kl_weight, joint_weight, velocity_weight
        self.principal_init = principal_init
        self.network = MotionVAE(self.skeleton.num_features, **asdict(restored(VAEArchitecture, network)))

    def start(self) -> None:
        """Start the frame embedding from the principal components, where `principal_init` is set."""
        if self.principal_init:
            start_from_motions(
                self.network, ((self.normalised(batch), batch.lengths) for batch in self.training_split())
            )

    def training_step(self, batch: MotionTextBatch, batch_idx: int) -> Tensor:
        """One step on latents drawn from their Gaussians."""
        latent = self._encode(batch)
        terms = self.terms(batch, latent, latent.sample())
        self.log_dict({f"train/{name}": term.detach() for name, term in terms.items()}, batch_size=len(batch))
        return terms["loss"]

    def validation_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Losses and the mean joint position error, on the latents' means."""
        self._evaluate(batch, "val")

    def test_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """The same as in validation."""
        self._evaluate(batch, "test")

    def terms(self, batch: MotionTextBatch, latent: Gaussian, z: Tensor) -> dict[str, Tensor]:
        """The loss of decoding z [B, n, d], and its terms.

        Returns:
            Scalars: `reconstruction` (features), `kl`, `joints` (smooth L1 in metres), `velocities` (L1 in m/s), their
            weighted sum `loss`, and `joint_error_mm`, the mean distance between joints in space.
        """
        features, lengths = self.normalised(batch), batch.lengths
        decoded = self.network.decode(z, lengths, features.shape[1])
        reconstruction, kl = masked_smooth_l1(decoded, features, lengths), standard_kl(latent)
        metres = self.skeleton.metres_per_unit
        # Half precision would spoil the root's path, a sum over all frames.
        with (
            torch.autocast(device_type=features.device.type, enabled=False),
            torch.set_grad_enabled(torch.is_grad_enabled() and (self.joint_weight > 0 or self.velocity_weight > 0)),
        ):
            made = recover_joints(self.normaliser.denormalise(decoded.float()), self.skeleton) * metres
            true = recover_joints(batch.motion.float(), self.skeleton) * metres
            joints = masked_smooth_l1(made, true, lengths)
            velocities = (torch.diff(made, dim=1) - torch.diff(true, dim=1)).abs() * self.skeleton.fps
            velocity = masked_mean(velocities, (lengths - 1).clamp_min(1)).mean()
            distance = masked_mean((made.detach() - true).norm(dim=-1), lengths).mean() * 1000
        loss = reconstruction + self.kl_weight * kl + self.joint_weight * joints + self.velocity_weight * velocity
        return {
            "loss": loss,
            "reconstruction": reconstruction,
            "kl": kl,
            "joints": joints,
            "velocities": velocity,
            "joint_error_mm": distance,
        }

    def specification(self) -> dict[str, Any]:
        """Kind, architecture and feature spec."""
        return vae_spec(self.network, skeleton=skeleton_reference(self.skeleton), fingerprint=self.fingerprint)

    def _encode(self, batch: MotionTextBatch) -> Gaussian:
        return self.network.encode(self.normalised(batch), batch.lengths)

    def _evaluate(self, batch: MotionTextBatch, stage: Literal["val", "test"]) -> None:
        latent = self._encode(batch)
        terms = self.terms(batch, latent, latent.mean)
        self.log_dict({f"{stage}/{name}": term for name, term in terms.items()}, batch_size=len(batch), sync_dist=True)
