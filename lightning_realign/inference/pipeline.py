"""Generator, reward, text and retrieval put together: all that generating needs, with or without Lightning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, product
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lightning_realign.diffusion.noise import prompt_ids
from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.generators import MaskedGenerator, load_generator
from lightning_realign.guidance.best_of import BestOfN
from lightning_realign.guidance.masked import MaskedSampler
from lightning_realign.guidance.particles import ParticleSteering
from lightning_realign.guidance.prompts import Sampler
from lightning_realign.guidance.sampler import RewardGuidedSampler
from lightning_realign.inference.counting import CountingGenerator
from lightning_realign.inference.filling import fill_guidance, fill_steps
from lightning_realign.inference.motions import Motion
from lightning_realign.inference.prompt import check_prompts, chosen_device, file_names, frames_of
from lightning_realign.inference.rewards import load_members, require_reward, run_rewards
from lightning_realign.motion import Skeleton, skeleton_of_reference
from lightning_realign.motion.predictions import Prediction
from lightning_realign.rewards.index import Matches, RewardIndex, find_index, reward_fingerprint
from lightning_realign.rewards.reward import DualAlignmentReward
from lightning_realign.rewards.weighted import ScoredReward
from lightning_realign.settings.checks import check_least
from lightning_realign.settings.guidance import FilledGuidance, GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.settings.search import SearchConfig
from lightning_realign.settings.sources import CacheConfig, GeneratorSource, RewardSource
from lightning_realign.types import GeneratedMotions

# Captions encoded at a time ahead of sampling: token features of a whole split would take gigabytes.
_TEXT_BATCH = 256
# Motions from prompts that are sampled together.
_PROMPT_BATCH = 32


class Pipeline:
    """A generator and its rewards: all that generating needs, with or without Lightning.

    Args:
        generator: where the generator's weights come from.
        reward: where the learned reward comes from; without a path there is none.
        guidance: strength and kind of the guidance; what is open is filled from the reward. None for no guidance.
        sampling: steps, scheduler, scale of classifier-free guidance and seed; where a reward guides whose folder
            remembers the number of steps, that fills an open one.
        search: candidates, particles and time travel.
        caches: folders of cached features.
        device: where to compute.

    Attributes:
        guidance: the settings, filled.
        sampling: the settings, with the steps that the reward remembers.
        rewards: all rewards.
        reward: the learned reward that reads x^c and scores motions; None for none.
        index: the training split's embeddings, from which x^c is retrieved; to be set where eta is not 0.

    Raises:
        ConfigError: guidance without a reward, or settings that contradict each other.
        CheckpointError: a checkpoint that cannot be used.
        FeatureSpecError: generator and reward are of different skeletons, or rewards cannot be added up.
    """

    def __init__(
        self,
        generator: GeneratorSource,
        reward: RewardSource | None = None,
        guidance: GuidanceConfig | None = GuidanceConfig(),  # noqa: B008 - frozen
        sampling: SamplingConfig | None = None,
        search: SearchConfig | None = None,
        caches: CacheConfig | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        source = RewardSource() if reward is None else reward
        self.caches = CacheConfig() if caches is None else caches
        self.sampling = SamplingConfig() if sampling is None else sampling
        search = SearchConfig() if search is None else search
        require_reward(guidance, search, source)
        members = load_members(source, self.caches.text, device)
        self.sampling = fill_steps(self.sampling, guidance, members, source)
        self._loaded = load_generator(
            generator.path,
            generator.family,
            generator.statistics,
            sampling=self.sampling,
            device=device,
            text_cache=self.caches.text,
        )
        self.generator = CountingGenerator(self._loaded)
        self.skeleton: Skeleton = _skeleton(self._loaded.skeleton, generator.path)
        self.rewards = run_rewards(source, members, self.skeleton, device)
        self.index: RewardIndex | None = None
        self._unguided = self._sampler(FilledGuidance(), SearchConfig())
        self._use(self._filled(guidance), search)

    @property
    def reward(self) -> DualAlignmentReward | None:
        """The learned reward that reads x^c and scores motions; None for none."""
        return self.rewards.first

    def guide(self, guidance: GuidanceConfig | None, search: SearchConfig) -> None:
        """Change guidance and search; networks and number of steps stay as they are.

        Raises:
            ConfigError: settings that contradict each other, or that need a reward.
        """
        require_reward(guidance, search, self.rewards.source)
        self._use(self._filled(guidance), search)

    def _filled(self, guidance: GuidanceConfig | None) -> FilledGuidance:
        return fill_guidance(guidance, self.rewards.members, self.rewards.source, self._loaded)

    def _use(self, guidance: FilledGuidance, search: SearchConfig) -> None:
        """Make the samplers of settings that are known to fit."""
        self.guidance, self.search = guidance, search
        sampler, ranks = self._sampler(guidance, search), self.rewards.learned
        if search.particles.count > 1 and ranks is not None:
            sampler = self._steered(sampler, ranks)
        self._guided = sampler
        self._best = None
        if search.candidates > 1 and ranks is not None:
            self._best = BestOfN(sampler, ranks, search.candidates)

    def _sampler(self, guidance: FilledGuidance, search: SearchConfig) -> Sampler[GeneratedMotions]:
        reward = self.rewards.guiding(guidance) if guidance.active else None
        kind = MaskedSampler if isinstance(self._loaded, MaskedGenerator) else RewardGuidedSampler
        return kind(self.generator, self.sampling, guidance, reward, search.travel)

    def _steered(self, sampler: Sampler[GeneratedMotions], reward: ScoredReward) -> Sampler[GeneratedMotions]:
        particles = self.search.particles
        if not isinstance(sampler, RewardGuidedSampler):
            raise ConfigError(
                f"particles count is {particles.count}: this generator has a sampling loop of its own and nothing to "
                "steer; set count to 1, and candidates above 1 to keep the best of so many motions"
            )
        return ParticleSteering(sampler, reward, particles)

    @classmethod
    def from_pretrained(
        cls,
        generator: GeneratorSource | Path | str,
        reward: RewardSource | Path | str | None = None,
        guidance: GuidanceConfig | None = GuidanceConfig(),  # noqa: B008 - frozen
        sampling: SamplingConfig | None = None,
        search: SearchConfig | None = None,
        device: str = "auto",
    ) -> Pipeline:
        """Load a generator, and a reward that guides it.

        Args:
            generator: checkpoint, model folder, `hf://owner/name`, or a source that says more.
            reward: checkpoint, model folder, `hf://owner/name`, or a source that says more; None for none.
            guidance: strength and kind of the guidance; what is open is filled from the reward, and None is for none.
            sampling: steps, scheduler, scale of classifier-free guidance and seed; None for the generator's own.
            search: candidates, particles and time travel; None for none.
            device: where to compute, such as `cpu` or `cuda:1`; `auto` is the GPU where CUDA finds one, else the CPU.

        Raises:
            ConfigError: settings that contradict each other, or no such device.
            CheckpointError: a checkpoint that cannot be used.
            FeatureSpecError: generator and reward are of different skeletons.
        """
        source = generator if isinstance(generator, GeneratorSource) else GeneratorSource(str(generator))
        rewards = RewardSource(str(reward)) if isinstance(reward, Path | str) else reward
        return cls(source, rewards, guidance, sampling, search, device=chosen_device(device))

    def generate(
        self,
        prompts: str | Sequence[str],
        seconds: float = 4.0,
        samples: int = 1,
        guidance: GuidanceConfig | Literal["own"] | None = "own",
        search: SearchConfig | None = None,
    ) -> list[Motion]:
        """Generate motions from prompts.

        The same prompt, length and seed give the same motion, whatever else is generated beside it.

        Args:
            prompts: one or more texts.
            seconds: length of the motions, rounded to a multiple of 4 frames.
            samples: motions per text.
            guidance: strength and kind of the guidance of this call, open settings filled from the reward; None for no
                guidance, `own` for the pipeline's.
            search: candidates, particles and time travel of this call; None for the pipeline's own.

        Returns:
            The motions, by prompt and then by sample.

        Raises:
            ConfigError: a prompt, a length or a setting that cannot be used.
        """
        own = self.guidance, self.search
        self.guide(self.guidance if guidance == "own" else guidance, search or self.search)
        try:
            if self.needs_index and self.index is None:
                self.find_index()
            texts = [prompts] if isinstance(prompts, str) else prompts
            motions: list[list[Motion]] = [[] for _ in texts]
            for first, prediction in self.predictions(texts, seconds, samples):
                for place in range(len(prediction.ids)):
                    motions[first + place].append(Motion(prediction, place))
            return list(chain.from_iterable(motions))
        finally:
            self._use(*own)

    def predictions(
        self, prompts: Sequence[str], seconds: float = 4.0, samples: int = 1
    ) -> Iterator[tuple[int, Prediction]]:
        """Generate motions from prompts batch by batch, as `generate` does.

        Yields:
            The place of a batch's first prompt, and its motions; their ids name files by text, length and occurrence.

        Raises:
            ConfigError: a prompt or a length that cannot be used.
        """
        texts, frames = check_prompts(prompts), frames_of(seconds, self.skeleton)
        check_least("samples", samples, 1)
        ids = prompt_ids(texts, [frames] * len(texts))
        for first, replication in product(range(0, len(texts), _PROMPT_BATCH), range(samples)):
            part = slice(first, first + _PROMPT_BATCH)
            lengths = torch.full((len(texts[part]),), frames)
            made = self.predict(texts[part], lengths, ids[part], replication, samples)
            yield first, replace(made, ids=file_names(made.captions, made.ids))

    def predict(
        self, captions: Sequence[str], lengths: Tensor, ids: Sequence[str], replication: int = 0, replications: int = 1
    ) -> Prediction:
        """Generate a motion for each of B captions, with all that its file states.

        Args:
            captions: B texts.
            lengths: [B] frames.
            ids: B sample ids, which with the seed and the replication determine the noise.
            replication: number of the replication.
            replications: how many there are in all.
        """
        matches = self.matches(captions)
        return Prediction(
            self.sample(captions, lengths, ids, replication),
            tuple(ids),
            tuple(captions),
            self.skeleton,
            self.guidance.mu,
            self.guidance.eta,
            self.sampling.seed,
            replication,
            replications,
            () if matches is None else matches.ids,
            () if matches is None else tuple(matches.rewards.tolist()),
        )

    def find_index(self, index: Path | str | None = None) -> None:
        """Read the embeddings from which x^c is retrieved, where eta is not 0.

        Args:
            index: their file; None for the one that a guided run of this reward has cached.

        Raises:
            ConfigError: there is none, or it is of another reward.
            DataError: the file cannot be used.
        """
        if self.needs_index and self.reward is not None:
            fingerprint = reward_fingerprint(self.reward.bundle)
            found = Path(index) if index else find_index(fingerprint, self.caches.index)
            self.index = RewardIndex.load(found, fingerprint)

    @property
    def needs_index(self) -> bool:
        """Whether eta of guidance or particles is not 0, so that x^c is retrieved."""
        particles = self.search.particles
        return self.guidance.eta != 0 or (particles.count > 1 and particles.eta != 0)

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
            replication: number of the replication.
            guided: False leaves the guidance out.

        Raises:
            ConfigError: eta is not 0 and there is no index.
        """
        if not guided:
            return self._unguided.sample(captions, lengths, ids, replication)
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
            raise ConfigError("reward path is not set: give the checkpoint of a reward model to score motions")
        return self.reward.score(features, lengths, captions)

    def matches(self, captions: Sequence[str]) -> Matches | None:
        """The x^c of B captions; None where eta is 0.

        Raises:
            ConfigError: eta is not 0 and there is no index.
        """
        if not self.needs_index or self.reward is None:
            return None
        if self.index is None:
            eta = self.guidance.eta or self.search.particles.eta
            raise ConfigError(f"eta is {eta}: eta needs the training set's index; give the index, or set eta to 0")
        return self.index.query(self.reward.text_latents(captions))


def _skeleton(reference: str, path: Path | str) -> Skeleton:
    try:
        return skeleton_of_reference(reference)
    except ConfigError as error:
        raise CheckpointError(f"{path}: field 'skeleton': {error}") from None
