"""Settings of training: the optimiser, and the loss of the reward model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from lightning_realign.errors import ConfigError
from lightning_realign.settings.checks import check_least

Reconstructed = Literal["clean", "noisy"]


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW, with a linear warm-up and then half a cosine over the rest of the run.

    Args:
        learning_rate: peak of the schedule.
        warmup_steps: optimiser steps of the linear warm-up, at most a tenth of the run.
        weight_decay: decoupled weight decay of AdamW.

    Raises:
        ConfigError: a setting out of range.
    """

    learning_rate: float = 1e-4
    warmup_steps: int = 1000
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ConfigError(f"optimiser learning_rate is {self.learning_rate}; set it above 0")
        check_least("optimiser warmup_steps", self.warmup_steps, 0)
        if not self.weight_decay >= 0:
            raise ConfigError(f"optimiser weight_decay is {self.weight_decay}; set it to 0 or more")


@dataclass(frozen=True)
class RewardLossConfig:
    """The loss of a reward model: its target, the weights of its terms, and the contrastive term.

    Args:
        reconstruct: what the decoder reconstructs: the `clean` motion, or the `noisy` one that was encoded.
        contrastive_weight: of the InfoNCE term; 0 leaves it out.
        reconstruction_weight: of the two reconstructions, from the motion's and from the text's latent.
        agreement_weight: of the difference between the two, as a part of the reconstruction term; TMR has none.
        kl_weight: of the four divergences.
        latent_weight: of the difference between the two latents.
        temperature: of InfoNCE.
        filter_threshold: two captions whose sentence cosine exceeds it are no negatives of each other.

    Raises:
        ConfigError: a setting out of range.
    """

    reconstruct: Reconstructed = "clean"
    contrastive_weight: float = 0.1
    reconstruction_weight: float = 1.0
    agreement_weight: float = 1.0
    kl_weight: float = 1e-5
    latent_weight: float = 1e-5
    temperature: float = 0.1
    filter_threshold: float = 0.8

    def __post_init__(self) -> None:
        if self.reconstruct not in get_args(Reconstructed):
            raise ConfigError(f"loss reconstruct is {self.reconstruct!r}; choose clean or noisy")
        if not self.temperature > 0:
            raise ConfigError(f"loss temperature is {self.temperature}; set it above 0")
        for name, weight in self.weights.items():
            if not weight >= 0:
                raise ConfigError(f"loss: the weight of {name} is {weight}; set it to 0 or more")

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each term of the loss by the term's name."""
        return {
            "contrastive": self.contrastive_weight,
            "reconstruction": self.reconstruction_weight,
            "agreement": self.reconstruction_weight * self.agreement_weight,
            "kl": self.kl_weight,
            "latent": self.latent_weight,
        }
