"""Old spellings: class paths and options of earlier versions, and what they are called now.

They are looked for only where the parser has refused the command, so that nothing that still works is held up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from lightning_realign.cli.config_files import config_files

_WRITER = "lightning_realign.inference.writer.PredictionWriter"
_SCORING = "lightning_realign.evaluation.SampleScoring"
_RETRIEVAL = "lightning_realign.evaluation.RetrievalSystem"
# Classes that a configuration can name.
CLASSES: Mapping[str, str] = {
    "lightning_realign.callbacks.PredictionWriter": _WRITER,
    "lightning_realign.callbacks.writer.PredictionWriter": _WRITER,
    "lightning_realign.callbacks.run_record.RunRecord": "lightning_realign.cli.run_record.RunRecord",
    "lightning_realign.callbacks.sweep_guard.SweepGuard": "lightning_realign.cli.sweep_guard.SweepGuard",
    "lightning_realign.data.synthetic_datamodule.SyntheticDataModule": "lightning_realign.data.SyntheticDataModule",
    "lightning_realign.inference.SampleScoring": _SCORING,
    "lightning_realign.inference.samples.SampleScoring": _SCORING,
    "lightning_realign.retrieval.RetrievalSystem": _RETRIEVAL,
    "lightning_realign.retrieval.module.RetrievalSystem": _RETRIEVAL,
}

_GUIDANCE = {
    name: f"guidance.{name}"
    for name in ("mu", "eta", "scale", "location", "start", "stop", "every", "max_norm", "physical")
}
_SAMPLING = {name: f"sampling.{name}" for name in ("steps", "scheduler", "cfg_scale", "ddim_eta", "seed")}
_SEARCH = {
    "candidates": "search.candidates",
    "travel": "search.travel.times",
    "travel_start": "search.travel.start",
    "travel_stop": "search.travel.stop",
    "particles": "search.particles.count",
    "temperature": "search.particles.temperature",
}
_REWARD = {
    "reward": "reward.path",
    "reward_family": "reward.family",
    "reward_statistics": "reward.statistics",
    "ensemble": "reward.ensemble",
}
_GENERATOR = {"generator": "generator.path", "family": "generator.family", "statistics": "generator.statistics"}
_MEASURING = {
    name: f"measuring.{name}"
    for name in ("replications", "protocol", "multimodality_captions", "multimodality_repeats")
}
_OPTIMISER = {name: f"optimiser.{name}" for name in ("learning_rate", "warmup_steps", "weight_decay")}
_NOISE = {name: f"noise.{name}" for name in ("schedule", "omega", "t_min", "t_max", "validation_timesteps")}
_LOSS = {
    name: f"loss.{name}"
    for name in (
        *("reconstruct", "contrastive_weight", "reconstruction_weight", "agreement_weight", "kl_weight"),
        *("latent_weight", "temperature", "filter_threshold"),
    )
}
# Options of a module, by the name of its class.
MODEL_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "GuidedGeneration": {
        **_GENERATOR,
        **_REWARD,
        **_GUIDANCE,
        **_SAMPLING,
        **_SEARCH,
        **_MEASURING,
        "rows": "measuring.systems",
        "text_cache": "caches.text",
        "index_cache": "caches.index",
    },
    "SampleScoring": {
        **{name: new for name, new in _REWARD.items() if name != "ensemble"},
        **_MEASURING,
        "seed": "measuring.seed",
        "text_cache": "caches.text",
    },
    "RewardTraining": {**_OPTIMISER, **_NOISE, **_LOSS},
    **{
        name: _OPTIMISER
        for name in ("VAETraining", "DiffusionTraining", "MotionDiffusionTraining", "EvaluatorTraining")
    },
}
# Options of a tool. Those with a short spelling are named by it.
TOOL_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "generate": {
        "ckpt": "model",
        **{name: new for name, new in _GENERATOR.items() if name != "generator"},
        **{name: new for name, new in _REWARD.items() if name != "reward"},
        **{name: new for name, new in _GUIDANCE.items() if name not in ("mu", "eta")},
        **_SAMPLING,
        **_SEARCH,
    },
    "difference": {"row": "system"},
}


def explain_tool(words: Sequence[str]) -> str:
    """One line about the first old option of a tool among the words of a command; empty where there is none."""
    renamed = TOOL_OPTIONS.get(words[0], {}) if words else {}
    for word in words[1:]:
        name = word.removeprefix("--").partition("=")[0]
        if word.startswith("--") and name in renamed:
            return f"--{name} is now --{renamed[name]}"
    return ""


def explain_run(words: Sequence[str]) -> str:
    """One line about the first old class path or option of a run, on the command line or in a file of `--config`.

    Returns:
        The line; empty where nothing old is found.
    """
    files = dict(_configs(words))
    named = [*(("the command line", word) for word in _values(words)), *_texts(files)]
    for where, text in named:
        if text in CLASSES:
            return f"{where}: {text} is now {CLASSES[text]}"
    for name in (text.rpartition(".")[2] for _, text in named):
        if name in MODEL_OPTIONS:
            return _old_option(words, files, MODEL_OPTIONS[name])
    return ""


def _old_option(words: Sequence[str], files: Mapping[str, Any], renamed: Mapping[str, str]) -> str:
    for word, following in pairwise([*words, ""]):
        option, equals, value = word.partition("=")
        prefix, _, name = option.rpartition(".")
        if prefix in ("--model.init_args", "--model") and _is_old(name, value if equals else following, renamed):
            return f"{option} is now --model.init_args.{renamed[name]}"
    for file, content in files.items():
        model = content.get("model") if isinstance(content, Mapping) else None
        settings = model.get("init_args") if isinstance(model, Mapping) else None
        for name, value in settings.items() if isinstance(settings, Mapping) else ():
            if _is_old(name, value, renamed):
                return f"{file}: model.init_args.{name} is now model.init_args.{renamed[name]}"
    return ""


def _is_old(name: str, value: Any, renamed: Mapping[str, str]) -> bool:
    """Whether an option is an old one; where only its form is new, whether its value is a path instead of a group."""
    if name not in renamed:
        return False
    if not renamed[name].startswith(f"{name}."):
        return True
    return not isinstance(value, Mapping) and not str(value).startswith("{") and not str(value).endswith(".yaml")


def _values(words: Sequence[str]) -> Iterator[str]:
    """The words, and what stands behind their equals sign."""
    for word in words:
        yield word
        yield word.partition("=")[2]


def _configs(words: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The files of `--config` and what they hold, as far as they can be read."""
    for file in config_files(words):
        try:
            yield file, yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError):
            continue


def _texts(files: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every text value of the files, each with its file."""
    for file, content in files.items():
        waiting = [content]
        while waiting:
            value = waiting.pop()
            if isinstance(value, str):
                yield file, value
            elif isinstance(value, Mapping):
                waiting += value.values()
            elif isinstance(value, list):
                waiting += value
