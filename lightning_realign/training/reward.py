"""Training of the step-aware reward model: Algorithm 1 of ReAlign (Weng et al., AAAI 2026, arXiv 2511.19217).

Without a step token and with omega = 1 this is TMR (Petrovich et al., ICCV 2023); without the contrastive term it is
TEMOS (Petrovich et al., ECCV 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lightning_realign.checkpoints.reward import reward_spec
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.errors import ConfigError
from lightning_realign.metrics import RetrievalByLevel
from lightning_realign.models import RewardArchitecture, RewardSpace, SpaceName, StepAwareRewardModel
from lightning_realign.motion import skeleton_reference
from lightning_realign.text import CachedTextEncoder
from lightning_realign.training.base import as_dataclass, primitive
from lightning_realign.training.noise import RewardDraws, TimestepLaw
from lightning_realign.training.latents import LatentTraining
from lightning_realign.training.losses import cross_modal_kl, info_nce, masked_smooth_l1
from lightning_realign.training.principal import PrincipalStart
from lightning_realign.types import MotionTextBatch, TextFeatures

PAPER_NETWORK = RewardArchitecture()
PAPER_SCHEDULE = NoiseSchedule()
POOL = 32


class RewardTraining(LatentTraining, PrincipalStart):
    """Fits a `StepAwareRewardModel`, and measures its retrieval at several noise levels.

    Args:
        skeleton: feature spec of the motions.
        text_encoder: name of the frozen text encoder.
        network: sizes of the reward model; the default is the paper's.
        space: `motion`, `decoded` or `latent`: what the network reads, and where the noise lives, see `RewardSpace`.
        vae: checkpoint of the VAE whose latents `decoded` and `latent` put the noise on.
        cache_latents: encode every training motion once, in its fixed crop, rather than a new crop in every step.
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
        space: SpaceName = "motion",
        vae: str | None = None,
        cache_latents: bool = False,
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
        needs_latents = space != "motion"
        super().__init__(
            skeleton, "reward", learning_rate, warmup_steps, weight_decay, seed, vae=vae, needs_latents=needs_latents
        )
        self.save_hyperparameters(settings)
        self.space_name, self.cache_latents = space, cache_latents
        self.schedule = as_dataclass(NoiseSchedule, schedule)
        self.law = TimestepLaw(omega, t_min, t_max)
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
        self.architecture = as_dataclass(RewardArchitecture, network)
        if not needs_latents:
            self.build_networks()
        self.val_retrieval = RetrievalByLevel(self.validation_timesteps)
        self.test_retrieval = RetrievalByLevel(self.validation_timesteps, (None, POOL))

    @property
    def space(self) -> RewardSpace:
        """What the network reads. Raises what `latent_space` raises."""
        return RewardSpace(self.space_name, self.normaliser, self.latent_space if self.needs_latents else None)

    def build_networks(self) -> None:
        """Make the reward model of what its space shows it."""
        sizes = self.space.num_features, self.text.token_size
        self.network = StepAwareRewardModel(*sizes, **asdict(self.architecture))

    def setup(self, stage: str) -> None:
        """Take the statistics of the data set (fit only) or the VAE, and encode the stage's captions."""
        super().setup(stage)
        self.prepare_text(self.text, stage)

    def training_step(self, batch: MotionTextBatch, batch_idx: int) -> Tensor:
        """Algorithm 1 on one batch."""
        states = self.states(batch)
        terms = self.terms(batch, states, self.draw(batch, states), gather=True)
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

    def states(self, batch: MotionTextBatch) -> Tensor:
        """What the noise is put on: normalised motions [B, T, D], or standardised latents [B, n, d]."""
        if not self.needs_latents:
            return self.normalised(batch)
        return self.latent_space.statistics.normalise(self.encoded(batch).mean)

    def clean_input(self, batch: MotionTextBatch) -> tuple[Tensor, Tensor]:
        """What the network reads of clean motions, and its lengths [B]."""
        return self.space.view(self.states(batch), batch.lengths), self.space.read_lengths(batch.lengths)

    def draw(self, batch: MotionTextBatch, states: Tensor) -> RewardDraws:
        """The random part of a training step, from the global random state of the states' device."""
        return RewardDraws.random(self.law, states, self.architecture.width)

    def fixed_draws(self, batch: MotionTextBatch, states: Tensor) -> RewardDraws:
        """The random part of an evaluation: per sample from (seed, id); latents are their means."""
        lengths = self.space.state_lengths(batch.lengths)
        return RewardDraws.fixed(self.law, states, lengths, self.architecture.width, self.seed, batch.ids)

    def terms(self, batch: MotionTextBatch, states: Tensor, draws: RewardDraws, *, gather: bool) -> dict[str, Tensor]:
        """The loss and its unweighted terms.

        Args:
            batch: motions and captions.
            states: of the batch, as `states` gives them.
            draws: timesteps and noise.
            gather: take the negatives from all ranks; their batches must have one size.

        Returns:
            Scalars `contrastive`, `reconstruction`, `agreement`, `kl`, `latent`, and their weighted sum `loss`.
        """
        text = self.text(batch.captions).to(self.device)
        lengths = self.space.read_lengths(batch.lengths)
        noisy = self.space.view(self.schedule.add_noise(states, draws.t, draws.noise), batch.lengths)
        target = self.space.view(states, batch.lengths) if self.reconstruct == "clean" else noisy
        motion_latent = self.network.encode_motion(noisy, lengths, draws.t)
        text_latent = self.network.encode_text(text.tokens, text.lengths)
        motion, caption = motion_latent.at(draws.motion), text_latent.at(draws.text)
        from_motion, from_text = (self.network.decode(z, lengths, target.shape[1]) for z in (motion, caption))
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
            self.space,
            self.schedule,
            skeleton=skeleton_reference(self.skeleton),
            text_encoder=self.text_encoder,
            fingerprint=self.fingerprint,
            **asdict(self.law),
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
        states, lengths = self.states(batch), self.space.read_lengths(batch.lengths)
        draws = self.fixed_draws(batch, states)
        terms = self.terms(batch, states, draws, gather=False)
        self.log_dict({f"{stage}/{name}": term for name, term in terms.items()}, batch_size=len(batch), sync_dist=True)
        text = self.text(batch.captions).to(self.device)
        captions = self.network.encode_text(text.tokens, text.lengths).mean
        for level in retrieval.levels:
            t = torch.full_like(draws.t, level)
            noisy = self.space.view(self.schedule.add_noise(states, t, draws.noise), batch.lengths)
            retrieval.update(level, self.network.encode_motion(noisy, lengths, t).mean, captions, batch.ids)

    def _log_retrieval(self, retrieval: RetrievalByLevel, stage: Literal["val", "test"]) -> None:
        # Already the same on every rank: the metrics gather their own states.
        self.log_dict({f"{stage}/{name}": value.float() for name, value in retrieval.compute().items()})
        retrieval.reset()

    def _check_noise(self) -> None:
        steps, law = self.schedule.steps, self.law
        if not 0.0 <= law.omega <= 1.0:
            raise ConfigError(f"RewardTraining.omega is {law.omega}; set it between 0 and 1")
        if not 1 <= law.t_min <= law.t_max <= steps:
            raise ConfigError(
                f"RewardTraining.t_min={law.t_min}, t_max={law.t_max}; need 1 <= t_min <= t_max <= {steps}"
            )
        for level in self.validation_timesteps:
            if not 0 <= level <= steps:
                raise ConfigError(f"RewardTraining.validation_timesteps has {level}; levels lie in 0 to {steps}")

    def _check_settings(self) -> None:
        self._check_noise()
        if self.space_name not in get_args(SpaceName):
            raise ConfigError(f"RewardTraining.space is {self.space_name!r}; choose {', '.join(get_args(SpaceName))}")
        if self.vae_path is not None and not self.needs_latents:
            raise ConfigError(f"RewardTraining.vae is {self.vae_path}, but space motion has no VAE; leave it out")
        if self.cache_latents and not self.needs_latents:
            raise ConfigError("RewardTraining.cache_latents is true, but space motion has no latents; leave it out")
        if self.reconstruct not in ("clean", "noisy"):
            raise ConfigError(f"RewardTraining.reconstruct is {self.reconstruct!r}; choose clean or noisy")
        if self.temperature <= 0:
            raise ConfigError(f"RewardTraining.temperature is {self.temperature}; set it above 0")
        for name, weight in self.weights.items():
            if weight < 0:
                raise ConfigError(f"RewardTraining: the weight of {name} is {weight}; set it to 0 or more")
