"""Runs from short names of settings, so that a test says what differs: `generation(path, reward, mu=3.0, steps=4)`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from lightning_realign.inference import GuidedGeneration
from lightning_realign.inference.generate import generate
from lightning_realign.inference.pipeline import Pipeline
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.measuring import MeasuringConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.settings.search import ParticleConfig, SearchConfig, TravelConfig
from lightning_realign.settings.sources import CacheConfig, GeneratorSource, RewardSource


def _taken(kind, given, **names):
    """A settings object from the given values that it has a field for; `names` maps fields to other short names."""
    found = {}
    for field in fields(kind):
        name = names.get(field.name, field.name)
        if name in given:
            found[field.name] = given.pop(name)
    return kind(**found)


def _guidance(given):
    """What a test is guided by: by nothing that it does not name."""
    given.setdefault("mu", 0.0)
    return _taken(GuidanceConfig, given)


def settings(generator, reward=None, **given):
    """Keyword arguments of `Pipeline`, and what is left over."""
    source = GeneratorSource(
        str(generator), **{name: given.pop(name) for name in ("family", "statistics") if name in given}
    )
    rewards = {"path": None if reward is None else str(reward)}
    for name, short in (("family", "reward_family"), ("statistics", "reward_statistics"), ("ensemble", "ensemble")):
        if short in given:
            rewards[name] = given.pop(short)
    particles = given.pop("particles", 1)
    if not isinstance(particles, ParticleConfig):
        particles = _taken(ParticleConfig, {"count": particles, "temperature": given.pop("temperature", 1.0)})
    travel = _taken(TravelConfig, given, times="travel", start="travel_start", stop="travel_stop")
    built = {
        "generator": source,
        "reward": RewardSource(**rewards),
        "guidance": given.pop("guidance") if "guidance" in given else _guidance(given),
        "sampling": _taken(SamplingConfig, given),
        "search": SearchConfig(given.pop("candidates", 1), particles, travel),
        "caches": _taken(CacheConfig, given, text="text_cache", index="index_cache"),
    }
    return built, given


def generation(generator, reward=None, **given) -> GuidedGeneration:
    """`GuidedGeneration` from short names."""
    built, left = settings(generator, reward, **given)
    measuring = _taken(MeasuringConfig, left, seed="measuring_seed")
    return GuidedGeneration(**built, measuring=measuring, **left)


def pipeline_of(generator, reward=None, guidance=None, **given) -> Pipeline:
    """`Pipeline` from short names."""
    more = {} if guidance is None else {"guidance": guidance}
    built, left = settings(generator, reward, **more, **given)
    return Pipeline(**built, **left)


def prompts(texts, generator, out: Path, reward=None, **given) -> list[Path]:
    """`inference.prompt.generate` from short names."""
    built, left = settings(generator, reward, **given)
    built.pop("caches")
    return generate(texts, built.pop("generator"), out, **built, **left)
