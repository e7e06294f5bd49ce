"""Generator, reward, text and retrieval put together: all that generating needs, with or without Lightning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.generators import Generator, MaskedGenerator, load_generator
from lightning_realign.generators.base import LatentGuide
from lightning_realign.guidance import (
    BestOfN,
    DualAlignmentReward,
    GuidanceConfig,
    MaskedSampler,
    ParticleConfig,
    ParticleSteering,
    RewardGuidedSampler,
    SchedulerName,
)
from lightning_realign.guidance.best_of import Sampler
from lightning_realign.inference.rewards import build_reward, require_reward, reward_paths
from lightning_realign.motion import Skeleton, skeleton_of_reference
from lightning_realign.rewards import Family as RewardFamily
from lightning_realign.rewards.index import Matches, RewardIndex
from lightning_realign.types import GeneratedMotions

# Captions encoded at a time ahead of sampling: token features of a whole split would take gigabytes.
_TEXT_BATCH = 256


class CountingGenerator:
    """A generator that counts its network's evaluations; otherwise the generator it wraps.

    Args:
        generator: the generator.

    Attributes:
        calls: network evaluations per motion so far, over all batches. A gradient taken back through the network
            counts as one more: with frozen weights it costs about as much.
        watch: told of that number whenever it grows; None for nobody.
    """

    def __init__(self, generator: Generator | MaskedGenerator) -> None:
        self._generator: Any = generator
        self.calls = 0
        self.watch: Callable[[int], None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def _count(self, evaluations: int) -> None:
        self.calls += evaluations
        if self.watch is not None:
            self.watch(self.calls)

    def generate(
        self,
        texts: Sequence[str],
        lengths: Tensor,
        noise: Sequence[torch.Generator],
        guide: LatentGuide | None = None,
    ) -> Tensor:
        """The wrapped generator's `generate`."""
        self._count(self._generator.evaluations)
        features: Tensor = self._generator.generate(texts, lengths, noise, guide)
        return features

    def denoise(self, x: Tensor, t: int, cond: Any, lengths: Tensor) -> Tensor:
        """The wrapped generator's `denoise`."""
        evaluations = self._generator.evaluations_at(t)
        self._count(evaluations)
        output: Any = self._generator.denoise(x, t, cond, lengths)
        if output.requires_grad:

            def count(gradient: Tensor) -> None:
                self._count(evaluations)

            output.register_hook(count)
        predicted: Tensor = output
        return predicted


class GuidedPipeline:
    """Samples a generator with and without the guidance of a reward.

    Args:
        generator: the generator's checkpoint.
        reward: the reward's checkpoint; None only where nothing learned guides. It reads x^c and scores motions.
        guidance: strength and kind of the guidance.
        ensemble: checkpoints of further rewards; their mean with the first guides, ranks candidates and weighs
            particles.
        family: kind of the generator's file, see `load_generator`.
        reward_family: kind of the rewards' files, see `load_reward`.
        statistics: folder of the generator's Mean.npy and Std.npy, for published files that do not hold theirs.
        reward_statistics: likewise of the reward, see `load_reward`.
        steps, scheduler, cfg_scale: of the sampler; None for the generator's own.
        seed: of all noise.
        text_cache: folder of cached text features; None for the usual one.
        ddim_eta: stochasticity of DDIM.
        candidates: N, motions that are drawn for each guided one, of which the one with the highest clean reward is
            kept; 1 for none but it.
        steering: particles that stand for each guided motion; None for one, the motion itself.
        device: where to compute.

    Attributes:
        rewards: all rewards.
        reward: the learned one that reads x^c and scores motions; None for none.
        index: the training split's embeddings, from which x^c is retrieved; to be set where eta is not 0.

    Raises:
        ConfigError: guidance without a reward, or settings that contradict each other.
        CheckpointError: a checkpoint that cannot be used.
        FeatureSpecError: generator and reward are of different skeletons, or rewards cannot be added up.
    """

    def __init__(
        self,
        generator: Path | str,
        reward: Path | str | None,
        guidance: GuidanceConfig,
        *,
        ensemble: Sequence[Path | str] | None = None,
        family: str = "own",
        reward_family: RewardFamily = "own",
        statistics: Path | str | None = None,
        reward_statistics: Path | str | None = None,
        steps: int | None = None,
        scheduler: SchedulerName | None = None,
        seed: int = 1234,
        cfg_scale: float | None = None,
        text_cache: Path | str | None = None,
        ddim_eta: float = 0.0,
        candidates: int = 1,
        steering: ParticleConfig | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        require_reward(guidance, reward, candidates, 1 if steering is None else steering.particles)
        rewards = reward_paths(reward, ensemble)
        loaded = load_generator(
            family,
            generator,
            cfg_scale,
            steps=steps,
            scheduler=scheduler,
            statistics=statistics,
            device=device,
            text_cache=text_cache,
        )
        self.generator = CountingGenerator(loaded)
        self.guidance = guidance
        self.skeleton: Skeleton = _skeleton(loaded.skeleton, generator)
        self.rewards = build_reward(
            rewards,
            guidance,
            self.skeleton,
            family=reward_family,
            statistics=reward_statistics,
            text_cache=text_cache,
            device=device,
        )
        self.reward: DualAlignmentReward | None = self.rewards.members[0] if self.rewards.members else None
        self.index: RewardIndex | None = None
        self._plain = self._sampler(loaded, GuidanceConfig(), seed, ddim_eta)
        self.steering = steering
        self._guided = self._steered(self._sampler(loaded, guidance, seed, ddim_eta))
        ranks = self.rewards.learned
        self._best = None if candidates == 1 or ranks is None else BestOfN(self._guided, ranks, candidates)

    def _sampler(
        self, loaded: Generator | MaskedGenerator, guidance: GuidanceConfig, seed: int, ddim_eta: float
    ) -> Sampler:
        reward = self.rewards.guiding if guidance.active else None
        if not isinstance(loaded, MaskedGenerator):
            return RewardGuidedSampler(self.generator, seed=seed, config=guidance, reward=reward, ddim_eta=ddim_eta)
        if ddim_eta != 0:
            raise ConfigError(f"sampler ddim_eta={ddim_eta}: this generator does not sample with DDIM; leave it out")
        return MaskedSampler(self.generator, seed, guidance, reward)

    def _steered(self, sampler: Sampler) -> Sampler:
        if self.steering is None or self.rewards.learned is None:
            return sampler
        if not isinstance(sampler, RewardGuidedSampler):
            raise ConfigError(
                f"particles is {self.steering.particles}: this generator has a sampling loop of its own and nothing to "
                "steer; set particles to 1, and candidates above 1 to keep the best of so many motions"
            )
        return ParticleSteering(sampler, self.rewards.learned, self.steering)

    def prepare_text(self, captions: Sequence[str]) -> None:
        """Encode captions ahead of sampling, so that they are in the cache."""
        for first in range(0, len(captions), _TEXT_BATCH):
            batch = captions[first : first + _TEXT_BATCH]
            self.generator.condition(batch)
            for member in self.rewards.members:
                member.text_latents(batch)

    def sample(
        self, captions: Sequence[str], lengths: Tensor, ids: Sequence[str], replication: int = 0, guided: bool = True
    ) -> GeneratedMotions:
        """Generate a motion for each of B captions; the same noise whether guided or not.

        Args:
            captions: B texts.
            lengths: [B] frames.
            ids: B sample ids, which with the seed and the replication determine the noise.
            replication: index of the draw.
            guided: False leaves the guidance out.

        Raises:
            ConfigError: eta is not 0 and there is no index.
        """
        if not guided:
            return self._plain.sample(captions, lengths, ids, replication)
        matches = self.matches(captions)
        references = None if matches is None else matches.latents
        if self._best is not None:
            return self._best.sample(captions, lengths, ids, replication, references).motions
        return self._guided.sample(captions, lengths, ids, replication, references)

    @torch.no_grad()
    def reconstruct(self, features: Tensor, lengths: Tensor) -> Tensor:
        """What the generator's representation keeps of real motions [B, T, D], in the data set's own units."""
        reconstructed: Tensor = self.generator.reconstruct(features, lengths)
        return reconstructed

    @torch.no_grad()
    def clean_reward(self, features: Tensor, lengths: Tensor, captions: Sequence[str]) -> Tensor:
        """R_phi(x, c) [B] of finished motions, at t = 0.

        Args:
            features: [B, T, D] in the data set's own units.
            lengths: [B] frames.
            captions: B texts.

        Raises:
            ConfigError: the pipeline has no reward.
        """
        if self.reward is None:
            raise ConfigError("reward is not set: give the checkpoint of a reward model to score motions")
        return self.reward.score(features, lengths, captions)

    def matches(self, captions: Sequence[str]) -> Matches | None:
        """The x^c of B captions; None where eta is 0.

        Raises:
            ConfigError: eta is not 0 and there is no index.
        """
        eta = self.guidance.eta if self.steering is None else self.guidance.eta or self.steering.eta
        if eta == 0 or self.reward is None:
            return None
        if self.index is None:
            raise ConfigError(f"eta is {eta}: eta needs the training set's index; give the index, or set eta to 0")
        return self.index.query(self.reward.text_latents(captions))


def _skeleton(reference: str, path: Path | str) -> Skeleton:
    try:
        return skeleton_of_reference(reference)
    except ConfigError as error:
        raise CheckpointError(f"{path}: field 'skeleton': {error}") from None
