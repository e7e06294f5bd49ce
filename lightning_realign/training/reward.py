"""Training of the step-aware reward model: Algorithm 1 of ReAlign (Weng et al., AAAI 2026, arXiv 2511.19217).

Without a step token and with omega = 1 this is TMR (Petrovich et al., ICCV 2023); without the contrastive term it is
TEMOS (Petrovich et al., ECCV 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_realign.checkpoint import reward_spec
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.errors import ConfigError
from lightning_realign.guidance.noise import sample_generator
from lightning_realign.metrics import RetrievalByLevel
from lightning_realign.models import RewardArchitecture, StepAwareRewardModel
from lightning_realign.text import CachedTextEncoder
from lightning_realign.training.base import as_dataclass, primitive
from lightning_realign.training.losses import cross_modal_kl, info_nce, masked_smooth_l1
from lightning_realign.training.principal import PrincipalStart
from lightning_realign.types import MotionTextBatch, TextFeatures

PAPER_NETWORK = RewardArchitecture()
PAPER_SCHEDULE = NoiseSchedule()
POOL = 32


@dataclass(frozen=True)
class RewardDraws:
    """Everything random in one step, apart from dropout.

    t: [B] timesteps. noise: [B, T, D] on the features. motion, text: [B, W] noise of the sampled latents.
    """

    t: Tensor
    noise: Tensor
    motion: Tensor
    text: Tensor


def draw_timesteps(size: int, omega: float, t_min: int, t_max: int, generator: torch.Generator | None = None) -> Tensor:
    """Per sample: t = 0 with probability omega, else uniform in {t_min..t_max}, both included; int64 [size]."""
    noisy = torch.randint(t_min, t_max + 1, (size,), generator=generator)
    return noisy.masked_fill(torch.rand(size, generator=generator, dtype=torch.float64) < omega, 0)


class RewardTraining(PrincipalStart):
    """Fits a `StepAwareRewardModel`, and measures its retrieval at several noise levels.

    Args:
        skeleton: feature spec of the motions.
        text_encoder: name of the frozen text encoder.
        network: sizes of the reward model; the default is the paper's.
        schedule: noise schedule of the motions.
        omega: probability that a motion stays clean (t = 0).
        t_min: lowest timestep of a noisy motion, at least 1.
        t_max: highest one, at most the schedule's number of steps.
        reconstruct: what the decoder is to reconstruct: the clean motion, or the noisy one that was encoded.
        contrastive_weight: of the InfoNCE term; 0 leaves it out.
        reconstruction_weight: of the two reconstructions, from the motion's and from the text's latent.
        agreement_weight: of the difference between the two, as a part of the reconstruction term; TMR has none.
        kl_weight: of the four divergences.
        latent_weight: of the difference between the two latents.
        temperature: of InfoNCE.
        filter_threshold: captions whose sentence cosine exceeds it are no negatives of each other.
        learning_rate: peak of the cosine schedule.
        warmup_steps: linear warm-up, at most a tenth of the run.
        weight_decay: AdamW's.
        principal_init: start the frame embedding from the training split's principal components, see `principal`.
        validation_timesteps: noise levels at which validation and test measure retrieval; 0 is clean.
        text_cache: folder of cached text features; None is the default one.
        seed: of training and of the noise in validation and test.

    Raises:
        ConfigError: a setting out of range.
    """

    network: StepAwareRewardModel

    def __init__(
        self,
        skeleton: str = "humanml3d",
        text_encoder: str = "all-MiniLM-L6-v2",
        network: RewardArchitecture = PAPER_NETWORK,
        schedule: NoiseSchedule = PAPER_SCHEDULE,
        omega: float = 0.5,
        t_min: int = 1,
        t_max: int = 1000,
        reconstruct: Literal["clean", "noisy"] = "clean",
        contrastive_weight: float = 0.1,
        reconstruction_weight: float = 1.0,
        agreement_weight: float = 1.0,
        kl_weight: float = 1e-5,
        latent_weight: float = 1e-5,
        temperature: float = 0.1,
        filter_threshold: float = 0.8,
        learning_rate: float = 1e-4,
        warmup_steps: int = 1000,
        weight_decay: float = 0.0,
        principal_init: bool = False,
        validation_timesteps: Sequence[int] = (0, 100, 300, 500),
        text_cache: str | None = None,
        seed: int = 1234,
    ) -> None:
        settings = primitive({name: value for name, value in locals().items() if name not in ("self", "__class__")})
        super().__init__(skeleton, "reward", learning_rate, warmup_steps, weight_decay, seed)
        self.save_hyperparameters(settings)
        self.schedule = as_dataclass(NoiseSchedule, schedule)
        self.omega, self.t_min, self.t_max = omega, t_min, t_max
        self.temperature, self.filter_threshold = temperature, filter_threshold
        self.validation_timesteps = tuple(validation_timesteps)
        self.reconstruct, self.principal_init = reconstruct, principal_init
        self.weights = {
            "contrastive": contrastive_weight,
            "reconstruction": reconstruction_weight,
            "agreement": reconstruction_weight * agreement_weight,
            "kl": kl_weight,
            "latent": latent_weight,
        }
        self._check_settings()
        self.text_encoder = text_encoder
        self.text = CachedTextEncoder(text_encoder, text_cache)
        architecture = as_dataclass(RewardArchitecture, network)
        sizes = self.skeleton.num_features, self.text.token_size
        self.network = StepAwareRewardModel(*sizes, **asdict(architecture))
        self.val_retrieval = RetrievalByLevel(self.validation_timesteps)
        self.test_retrieval = RetrievalByLevel(self.validation_timesteps, (None, POOL))

    def setup(self, stage: str) -> None:
        """Take the data set's statistics (fit only), check its skeleton, and encode the stage's captions."""
        super().setup(stage)
        self.prepare_text(self.text, stage)

    def training_step(self, batch: MotionTextBatch, batch_idx: int) -> Tensor:
        """Algorithm 1 on one batch."""
        terms = self.terms(batch, self.draw(batch), gather=True)
        size = len(batch)
        self.log_dict({f"train/{name}": term.detach() for name, term in terms.items()}, batch_size=size)
        return terms["loss"]

    def validation_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Loss at fixed timesteps and noise, and retrieval at every level."""
        self._evaluate(batch, self.val_retrieval, "val")

    def test_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """As in validation; retrieval also within pools of 32."""
        self._evaluate(batch, self.test_retrieval, "test")

    def on_validation_epoch_end(self) -> None:
        """Log `val/t0/t2m_R@1` and so on, over the whole validation split."""
        self._log_retrieval(self.val_retrieval, "val")

    def on_test_epoch_end(self) -> None:
        """Log `test/t0/t2m_R@1` and so on over the whole test split, `test/t0/pool32/t2m_R@1` within pools."""
        self._log_retrieval(self.test_retrieval, "test")

    def draw(self, batch: MotionTextBatch) -> RewardDraws:
        """The random part of a training step, from the global random state of the batch's device."""
        size, device = len(batch), self.device
        width = self.network.architecture.width
        return RewardDraws(
            t=draw_timesteps(size, self.omega, self.t_min, self.t_max).to(device),
            noise=torch.randn_like(batch.motion),
            motion=torch.randn(size, width, device=device),
            text=torch.randn(size, width, device=device),
        )

    def fixed_draws(self, batch: MotionTextBatch) -> RewardDraws:
        """The random part of an evaluation: per sample from (seed, id); latents are their means."""
        noise, timesteps = torch.zeros_like(batch.motion), []
        for row, (sample_id, length) in enumerate(zip(batch.ids, batch.lengths.tolist(), strict=True)):
            generator = sample_generator(self.seed, sample_id)
            noise[row, :length] = torch.randn((length, noise.shape[2]), generator=generator).to(noise)
            timesteps.append(draw_timesteps(1, self.omega, self.t_min, self.t_max, generator))
        means = torch.zeros(len(batch), self.network.architecture.width, device=noise.device)
        return RewardDraws(torch.cat(timesteps).to(noise.device), noise, means, means)

    def terms(self, batch: MotionTextBatch, draws: RewardDraws, *, gather: bool) -> dict[str, Tensor]:
        """The loss and its unweighted terms.

        Args:
            batch: motions and captions.
            draws: timesteps and noise.
            gather: take the negatives from all ranks; their batches must have one size.

        Returns:
            Scalars `contrastive`, `reconstruction`, `agreement`, `kl`, `latent`, and their weighted sum `loss`.
        """
        text = self.text(batch.captions).to(self.device)
        features, lengths = self.normalised(batch), batch.lengths
        noisy = self.schedule.add_noise(features, draws.t, draws.noise)
        motion_latent = self.network.encode_motion(noisy, lengths, draws.t)
        text_latent = self.network.encode_text(text.tokens, text.lengths)
        motion, caption = motion_latent.at(draws.motion), text_latent.at(draws.text)
        target = features if self.reconstruct == "clean" else noisy
        from_motion, from_text = (self.network.decode(z, lengths, features.shape[1]) for z in (motion, caption))
        terms = {
            "reconstruction": masked_smooth_l1(from_text, target, lengths)
            + masked_smooth_l1(from_motion, target, lengths),
            "agreement": masked_smooth_l1(from_motion, from_text, lengths),
            "kl": cross_modal_kl(motion_latent, text_latent),
            "latent": nn.functional.smooth_l1_loss(motion, caption),
        }
        if self.weights["contrastive"]:
            terms["contrastive"] = self._contrastive(motion, caption, text, gather=gather)
        loss = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        return {"loss": loss, **terms}

    def specification(self) -> dict[str, Any]:
        """Kind, architecture, feature spec, text encoder, schedule and noise levels."""
        return reward_spec(
            self.network,
            self.schedule,
            skeleton=self.skeleton.name,
            text_encoder=self.text_encoder,
            fingerprint=self.fingerprint,
            omega=self.omega,
            t_min=self.t_min,
            t_max=self.t_max,
        )

    def _contrastive(self, motion: Tensor, caption: Tensor, text: TextFeatures, *, gather: bool) -> Tensor:
        """InfoNCE; when gathering, every rank computes the joint batch's whole loss.

        The gradients of the gathered latents add up over ranks, and DDP then averages over as many: what remains is
        exactly the gradient that one process has on the joint batch.
        """
        sentences = text.sentence
        if gather:
            motion, caption, sentences = (self._gathered(x) for x in (motion, caption, sentences))
        return info_nce(motion, caption, sentences, self.temperature, self.filter_threshold)

    def _gathered(self, x: Tensor) -> Tensor:
        """The rows [B, ...] of all ranks, with gradient."""
        everyone = self.all_gather(x, sync_grads=True)
        if not isinstance(everyone, Tensor):
            raise TypeError(f"gathering a tensor gave {type(everyone).__name__}")
        # One process gets [B, W] back, several get [ranks, B, W].
        return everyone.reshape(-1, x.shape[-1])

    def _evaluate(self, batch: MotionTextBatch, retrieval: RetrievalByLevel, stage: Literal["val", "test"]) -> None:
        draws = self.fixed_draws(batch)
        terms = self.terms(batch, draws, gather=False)
        self.log_dict({f"{stage}/{name}": term for name, term in terms.items()}, batch_size=len(batch), sync_dist=True)
        text = self.text(batch.captions).to(self.device)
        captions = self.network.encode_text(text.tokens, text.lengths).mean
        features = self.normalised(batch)
        for level in retrieval.levels:
            t = torch.full_like(draws.t, level)
            noisy = self.schedule.add_noise(features, t, draws.noise)
            motions = self.network.encode_motion(noisy, batch.lengths, t).mean
            retrieval.update(level, motions, captions, batch.ids)

    def _log_retrieval(self, retrieval: RetrievalByLevel, stage: Literal["val", "test"]) -> None:
        # Already the same on every rank: the metrics gather their own states.
        self.log_dict({f"{stage}/{name}": value.float() for name, value in retrieval.compute().items()})
        retrieval.reset()

    def _check_settings(self) -> None:
        steps = self.schedule.steps
        if not 0.0 <= self.omega <= 1.0:
            raise ConfigError(f"RewardTraining.omega is {self.omega}; set it between 0 and 1")
        if not 1 <= self.t_min <= self.t_max <= steps:
            raise ConfigError(
                f"RewardTraining.t_min={self.t_min}, t_max={self.t_max}; need 1 <= t_min <= t_max <= {steps}"
            )
        if self.reconstruct not in ("clean", "noisy"):
            raise ConfigError(f"RewardTraining.reconstruct is {self.reconstruct!r}; choose clean or noisy")
        if self.temperature <= 0:
            raise ConfigError(f"RewardTraining.temperature is {self.temperature}; set it above 0")
        for level in self.validation_timesteps:
            if not 0 <= level <= steps:
                raise ConfigError(f"RewardTraining.validation_timesteps has {level}; levels lie in 0 to {steps}")
        for name, weight in self.weights.items():
            if weight < 0:
                raise ConfigError(f"RewardTraining: the weight of {name} is {weight}; set it to 0 or more")
