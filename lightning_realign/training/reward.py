"""Training of the step-aware reward model: Algorithm 1 of ReAlign (Weng et al., AAAI 2026, arXiv 2511.19217).

Without a step token and with omega = 1 this is TMR (Petrovich et al., ICCV 2023); without the contrastive term it is
TEMOS (Petrovich et al., ECCV 2022).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lightning_realign.checkpoints.reward import reward_spec
from lightning_realign.errors import ConfigError
from lightning_realign.metrics import RetrievalByLevel
from lightning_realign.models import RewardArchitecture, RewardSpace, SpaceName, StepAwareRewardModel
from lightning_realign.motion import skeleton_reference
from lightning_realign.settings.plain import restored
from lightning_realign.settings.training import OptimiserConfig, RewardLossConfig
from lightning_realign.text import CachedTextEncoder
from lightning_realign.training.base import TrainingModule
from lightning_realign.training.latents import FrozenVAE
from lightning_realign.training.losses import cross_modal_kl, info_nce, masked_smooth_l1
from lightning_realign.training.noise import RewardDraws, RewardNoise
from lightning_realign.training.principal import start_from_motions
from lightning_realign.training.rank_gathering import of_all_ranks
from lightning_realign.types import MotionTextBatch, TextFeatures

PAPER_NETWORK = RewardArchitecture()
POOL = 32


class RewardTraining(TrainingModule):
    """Fits a `StepAwareRewardModel`, and measures its retrieval at several noise levels.

    Args:
        skeleton: feature spec of the motions.
        text_encoder: name of the frozen text encoder.
        network: sizes of the reward model; the default is the paper's.
        space: `motion`, `decoded` or `latent`: what the network reads, and where the noise lives, see `RewardSpace`.
        vae: checkpoint of the VAE whose latents `decoded` and `latent` put the noise on.
        cache_latents: encode every training motion once, in its fixed crop, rather than a new crop in every step.
        noise: schedule and noise levels of training, and the levels of validation.
        loss: target, weights of the terms, and the contrastive term's temperature and filter.
        optimiser: learning rate, warm-up and weight decay.
        principal_init: start the frame embedding from the training split's principal components, see `principal`.
        text_cache: folder of cached text features; None is the default one.
        seed: of training and of the noise in validation and test.

    Raises:
        ConfigError: a setting out of range.
    """

    text: CachedTextEncoder
    network: StepAwareRewardModel

    def __init__(
        self,
        skeleton: str = "humanml3d",
        text_encoder: str = "all-MiniLM-L6-v2",
        network: RewardArchitecture = PAPER_NETWORK,
        space: SpaceName = "motion",
        vae: str | None = None,
        cache_latents: bool = False,
        noise: RewardNoise = RewardNoise(),  # noqa: B008 - frozen
        loss: RewardLossConfig = RewardLossConfig(),  # noqa: B008
        optimiser: OptimiserConfig = OptimiserConfig(),  # noqa: B008
        principal_init: bool = False,
        text_cache: str | None = None,
        seed: int = 1234,
    ) -> None:
        _check_space(space, vae, cache_latents)
        super().__init__(
            "reward",
            skeleton,
            restored(OptimiserConfig, optimiser),
            seed,
            text=CachedTextEncoder(text_encoder, text_cache),
            vae=None if space == "motion" else FrozenVAE(type(self).__name__, vae, cached=cache_latents),
        )
        self.save_settings(
            skeleton=skeleton,
            text_encoder=text_encoder,
            network=network,
            space=space,
            vae=vae,
            cache_latents=cache_latents,
            noise=noise,
            loss=loss,
            optimiser=optimiser,
            principal_init=principal_init,
            text_cache=text_cache,
            seed=seed,
        )
        self.space_name, self.text_encoder, self.principal_init = space, text_encoder, principal_init
        self.noise, self.loss = restored(RewardNoise, noise), restored(RewardLossConfig, loss)
        self.schedule = self.noise.schedule
        self.architecture = restored(RewardArchitecture, network)
        if space == "motion":
            self.build_networks()
        self.val_retrieval = RetrievalByLevel(self.noise.validation_timesteps)
        self.test_retrieval = RetrievalByLevel(self.noise.validation_timesteps, (None, POOL))

    @property
    def space(self) -> RewardSpace:
        """What the network reads. Raises what `latent_space` raises."""
        return RewardSpace(self.space_name, self.normaliser, None if self.vae is None else self.latent_space)

    def build_networks(self) -> None:
        """Make the reward model for what its space shows it."""
        sizes = self.space.num_features, self.text.token_size
        self.network = StepAwareRewardModel(*sizes, **asdict(self.architecture))

    def start(self) -> None:
        """Measure the latents; start the frame embedding from the principal components, where that is wanted."""
        super().start()
        if self.principal_init:
            start_from_motions(self.network, map(self.clean_input, self.training_split()))

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
        """The same as in validation; retrieval also within pools of 32."""
        self._evaluate(batch, self.test_retrieval, "test")

    def on_validation_epoch_end(self) -> None:
        """Log `val/t0/t2m_R@1` and so on, over the whole validation split."""
        self._log_retrieval(self.val_retrieval, "val")

    def on_test_epoch_end(self) -> None:
        """Log `test/t0/t2m_R@1` and so on over the whole test split, `test/t0/pool32/t2m_R@1` within pools."""
        self._log_retrieval(self.test_retrieval, "test")

    def states(self, batch: MotionTextBatch) -> Tensor:
        """What the noise is put on: normalised motions [B, T, D], or standardised latents [B, n, d]."""
        if self.vae is None:
            return self.normalised(batch)
        return self.latent_space.statistics.normalise(self.encoded(batch).mean)

    def clean_input(self, batch: MotionTextBatch) -> tuple[Tensor, Tensor]:
        """What the network reads of clean motions, and its lengths [B]."""
        return self.space.view(self.states(batch), batch.lengths), self.space.read_lengths(batch.lengths)

    def draw(self, batch: MotionTextBatch, states: Tensor) -> RewardDraws:
        """The random part of a training step, from the global random state of the states' device."""
        return RewardDraws.random(self.noise, states, self.architecture.width)

    def fixed_draws(self, batch: MotionTextBatch, states: Tensor) -> RewardDraws:
        """The random part of validation and test: per sample from (seed, id); latents are their means."""
        lengths = self.space.state_lengths(batch.lengths)
        return RewardDraws.fixed(self.noise, states, lengths, self.architecture.width, self.seed, batch.ids)

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
        target = self.space.view(states, batch.lengths) if self.loss.reconstruct == "clean" else noisy
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
        weights = self.loss.weights
        if weights["contrastive"]:
            terms["contrastive"] = self._contrastive(motion, caption, text, gather=gather)
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
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
            omega=self.noise.omega,
            t_min=self.noise.t_min,
            t_max=self.noise.t_max,
            temperature=self.loss.temperature if self.loss.contrastive_weight else None,
        )

    def _contrastive(self, motion: Tensor, caption: Tensor, text: TextFeatures, *, gather: bool) -> Tensor:
        """InfoNCE; when gathering, every rank computes the joint batch's whole loss.

        The gradients of the gathered latents add up over ranks, and DDP then averages over as many: what remains is
        exactly the gradient that one process has on the joint batch.
        """
        sentences = text.sentence
        if gather:
            motion, caption, sentences = (of_all_ranks(self, x) for x in (motion, caption, sentences))
        return info_nce(motion, caption, sentences, self.loss.temperature, self.loss.filter_threshold)

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


def _check_space(space: SpaceName, vae: str | None, cache_latents: bool) -> None:
    if space not in get_args(SpaceName):
        raise ConfigError(f"RewardTraining.space is {space!r}; choose {', '.join(get_args(SpaceName))}")
    if vae is not None and space == "motion":
        raise ConfigError(f"RewardTraining.vae is {vae}, but space motion has no VAE; leave it out")
    if cache_latents and space == "motion":
        raise ConfigError("RewardTraining.cache_latents is true, but space motion has no latents; leave it out")
