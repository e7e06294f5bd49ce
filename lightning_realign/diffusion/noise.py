"""Noise drawn per sample, so that a prompt and a seed give the same motion in any batch, order or rank."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_realign.errors import ConfigError
from lightning_realign.files.hashing import stable_key


def prompt_id(text: str, length: int, occurrence: int = 0) -> str:
    """The id of a bare prompt: a hash of its text, its length in frames, and how often the pair came before."""
    return hashlib.sha256(json.dumps([text, int(length), int(occurrence)]).encode()).hexdigest()[:16]


def prompt_ids(texts: Sequence[str], lengths: Sequence[int]) -> tuple[str, ...]:
    """Ids of bare prompts; repetitions of the same text and length get different ids, in order."""
    seen: Counter[tuple[str, int]] = Counter()
    ids = []
    for text, length in zip(texts, lengths, strict=True):
        ids.append(prompt_id(text, length, seen[text, int(length)]))
        seen[text, int(length)] += 1
    return tuple(ids)


def sample_generator(seed: int, sample_id: str, replication: int = 0) -> torch.Generator:
    """A CPU generator of one sample, seeded from a hash of (seed, sample id, replication)."""
    generator = torch.Generator(device="cpu")
    generator.manual_seed(stable_key(json.dumps([int(seed), sample_id, int(replication)])))
    return generator


def check_batch(texts: Sequence[str], lengths: Tensor, ids: Sequence[str] | None) -> list[int]:
    """The lengths as integers, once every input is of one size."""
    frames = [int(length) for length in lengths.tolist()]
    if not frames or len(texts) != len(frames) or (ids is not None and len(ids) != len(frames)):
        given = "none" if ids is None else str(len(ids))
        raise ConfigError(
            f"sampler got {len(texts)} texts, {len(frames)} lengths, {given} ids; give one of each per motion"
        )
    if min(frames) < 1:
        raise ConfigError(f"sampler lengths: {min(frames)} frames; give at least 1")
    return frames


class SampleNoise:
    """A stream of standard normal noise per sample.

    Always drawn on the CPU in float32 and then cast, so that device and precision do not change the noise.

    Args:
        seed: the run's seed.
        ids: B sample ids.
        replication: number of the replication.
        shapes: per sample its own noise shape; samples that differ in their first size are zero-padded to the longest.
        device, dtype: of the tensors that `draw` returns.
    """

    def __init__(
        self,
        seed: int,
        ids: Sequence[str],
        replication: int,
        shapes: Sequence[tuple[int, ...]],
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._generators = [sample_generator(seed, sample_id, replication) for sample_id in ids]
        self._shapes = list(shapes)
        self._device = device
        self._dtype = dtype

    def draw(self) -> Tensor:
        """The next noise of every sample, [B, ...]."""
        draws = [
            torch.randn(shape, generator=generator)
            for shape, generator in zip(self._shapes, self._generators, strict=True)
        ]
        noise = torch.nn.utils.rnn.pad_sequence(draws, batch_first=True)
        return noise.to(device=self._device, dtype=self._dtype)
