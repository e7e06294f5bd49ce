"""What all generators that consist of networks and statistics share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from lightning_realign.diffusion import NoiseSchedule, make_scheduler
from lightning_realign.diffusion.schedule import Prediction
from lightning_realign.generators.base import LoadOptions, Recipe
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.types import TextFeatures


@dataclass(frozen=True)
class GeneratorSpec:
    """What a diffusion generator is, apart from its networks.

    Attributes:
        skeleton: name of the feature spec of its motions.
        schedule: noise schedule that the network was trained on.
        prediction: what the network predicts.
        text_encoder: name of the frozen text encoder.
        recipe: how it is sampled.
    """

    skeleton: str
    schedule: NoiseSchedule
    prediction: Prediction
    text_encoder: str
    recipe: Recipe


class FrozenNetworks:
    """Networks and statistics of a generator: device, precision, text encoder.

    Attributes:
        modules: the networks and statistics, by name. normaliser: the statistics of its motions.

    Args:
        skeleton: name of the feature spec of its motions.
        text_encoder: name of the frozen text encoder.
        modules: everything with weights or statistics; put in eval mode and frozen.
        normaliser: statistics of its motions, one of the modules.
        options: only its text encoder and the folder of cached text features are used.
    """

    def __init__(
        self,
        skeleton: str,
        text_encoder: str,
        modules: Mapping[str, nn.Module],
        normaliser: Normaliser,
        options: LoadOptions | None = None,
    ) -> None:
        for module in modules.values():
            module.eval().requires_grad_(False)
        self.normaliser = normaliser
        self._skeleton, self._text_name = skeleton, text_encoder
        self.modules = dict(modules)
        self._options = options if options is not None else LoadOptions()
        self._encode = self._options.encode

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move the weights and statistics, in place, to a device and a precision."""
        for module in self.modules.values():
            module.to(device=device, dtype=dtype)
        return self

    @property
    def skeleton(self) -> str:
        """Name of the feature spec of the motions it makes."""
        return self._skeleton

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self._parameter.device

    @property
    def dtype(self) -> torch.dtype:
        """Its floating-point precision."""
        return self._parameter.dtype

    @property
    def _parameter(self) -> Tensor:
        return next(parameter for module in self.modules.values() for parameter in module.parameters())

    def encode_text(self, texts: Sequence[str]) -> TextFeatures:
        """The features of captions from the generator's text encoder, on the CPU."""
        if self._encode is None:
            from lightning_realign.text import CachedTextEncoder

            self._encode = CachedTextEncoder(self._text_name, self._options.text_cache)
        return self._encode(texts)


class NetworkGenerator(FrozenNetworks):
    """Base of the diffusion generators: schedule and classifier-free guidance.

    Args:
        spec: what it is.
        modules: everything with weights or statistics; put in eval mode and frozen.
        normaliser: statistics of its motions, one of the modules.
        options: only its text encoder and the folder of cached text features are used.
    """

    def __init__(
        self,
        spec: GeneratorSpec,
        modules: Mapping[str, nn.Module],
        normaliser: Normaliser,
        options: LoadOptions | None = None,
    ) -> None:
        super().__init__(spec.skeleton, spec.text_encoder, modules, normaliser, options)
        self.spec = spec

    @property
    def recipe(self) -> Recipe:
        """How it is sampled."""
        return self.spec.recipe

    @property
    def cfg_scale(self) -> float:
        """Scale of classifier-free guidance."""
        return self.spec.recipe.cfg_scale

    @property
    def evaluations(self) -> int:
        """Evaluations of its network per motion and call of `denoise`."""
        return 1 if self.cfg_scale == 1 else 2

    def evaluations_at(self, t: int) -> int:
        """Evaluations per motion of a call at scheduler index t: the same at all, unless a subclass says otherwise."""
        return self.evaluations

    @property
    def scheduler(self) -> Any:
        """A fresh DDIM scheduler with the schedule the network was trained on."""
        return make_scheduler("ddim", self.spec.schedule, self.spec.prediction)

    def with_cfg(self, evaluate: Callable[[bool], Tensor]) -> Tensor:
        """The network's output with classifier-free guidance, from one doubled batch.

        Args:
            evaluate: the network's output. Called with true, it doubles the batch, the unconditional half first.
        """
        if self.cfg_scale == 1:
            return evaluate(False)
        unconditional, conditional = evaluate(True).chunk(2)
        return unconditional + self.cfg_scale * (conditional - unconditional)
