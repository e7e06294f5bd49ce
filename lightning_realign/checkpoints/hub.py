"""Our own models as folders and as repositories on the Hugging Face Hub: `save_pretrained`, `from_pretrained`.

Each class is a bundle, so what it loads can be used wherever a bundle is needed:

    reward = PretrainedReward.from_pretrained("someone/reward")
    reward.save_pretrained("reward")
    PretrainedVAE.of(load_vae("last.ckpt")).push_to_hub("someone/vae")

Paths in configurations and on the command line take such folders too, and repositories as `hf://owner/name@revision`.
For the form of a folder see `checkpoints.folder`.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from huggingface_hub import ModelCard, ModelHubMixin
from torch import nn
from typing_extensions import Self

from lightning_realign.checkpoints.card import model_card
from lightning_realign.checkpoints.diffusion import (
    DiffusionBundle,
    MotionDiffusionBundle,
    Names,
    diffusion_spec,
    load_diffusion,
    load_motion_diffusion,
    motion_diffusion_spec,
)
from lightning_realign.checkpoints.entry import SPEC_KEY, CheckpointFile
from lightning_realign.checkpoints.evaluator import EvaluatorBundle, evaluator_spec, load_evaluator_bundle
from lightning_realign.checkpoints.folder import CONFIG_FILE, VERSION, VERSION_FIELD, WEIGHTS_FILE, download, is_address
from lightning_realign.checkpoints.guidance import SuitedGuidance
from lightning_realign.checkpoints.reward import RewardBundle, load_reward, reward_spec
from lightning_realign.checkpoints.vae import VAEBundle, load_vae, vae_spec
from lightning_realign.errors import ConfigError
from lightning_realign.files.atomic import write_text_atomic
from lightning_realign.files.weights import write_safetensors
from lightning_realign.models import StepAwareRewardModel

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


class _Bundle(Protocol):
    @property
    def modules(self) -> dict[str, nn.Module]: ...


B = TypeVar("B", bound=_Bundle)


class _Pretrained(ModelHubMixin, Generic[B]):
    """What the classes below add to their bundles. Each is the bundle `B` as well, and says how it is read."""

    title = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """An empty object: the mixin would keep a copy of every argument, networks included, as configuration."""
        return object.__new__(cls)

    @staticmethod
    @abstractmethod
    def _read(path: Path) -> B:
        """The bundle in a file or folder."""

    @property
    @abstractmethod
    def specification(self) -> dict[str, Any]:
        """The entry that says what the weights are, as in a checkpoint."""

    @property
    @abstractmethod
    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights or statistics, by the name it has in a checkpoint."""

    @classmethod
    def of(cls, bundle: B) -> Self:
        """The same parts, with the methods of this class."""
        return cls(**{field.name: getattr(bundle, field.name) for field in fields(bundle)})  # type: ignore[arg-type]

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
    ) -> Self:
        """Load a model, in eval mode and frozen.

        Args:
            pretrained_model_name_or_path: a folder, a checkpoint, `owner/name` of a repository on the Hub where there
                is no folder of that name, or `hf://owner/name[@revision]`.
            force_download: download files of a repository even where they are cached.
            token: for private repositories.
            cache_dir: folder of the downloads.
            local_files_only: use no network.
            revision: commit, tag or branch of a repository; None is its main branch.

        Raises:
            CheckpointError: nothing is there, it is of another kind, damaged or unsafe, or its weights do not fit.
        """
        place = Path(pretrained_model_name_or_path)
        name = str(pretrained_model_name_or_path)
        if not is_address(name) and not place.exists() and _REPOSITORY.fullmatch(name):
            place = download(
                name,
                revision,
                cache_dir=cache_dir,
                token=token,
                force_download=force_download,
                local_files_only=local_files_only,
            )
        elif revision is not None:
            raise ConfigError(f"{name}: revision is {revision!r}, but this is no owner/name on the Hub; leave it out")
        return cls.of(cls._read(place))

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write the weights, then the configuration, so that a folder that has a configuration is complete."""
        config = {VERSION_FIELD: VERSION, SPEC_KEY: self.specification}
        weights = {
            # Each of its own memory: the reward's encoders share a layer, and the format knows no shared tensors.
            f"{prefix}.{key}": value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for prefix, module in self.modules.items()
            for key, value in module.state_dict().items()
        }
        write_safetensors(save_directory / WEIGHTS_FILE, weights, {"format": "pt"})
        write_text_atomic(save_directory / CONFIG_FILE, json.dumps(config, indent=2, ensure_ascii=False) + "\n")

    def generate_model_card(self) -> ModelCard:
        """What the entry says, in words, and how to load the model."""
        return ModelCard(model_card(type(self).__name__, self.title, self.specification, self.modules))


def _names(bundle: RewardBundle | DiffusionBundle | MotionDiffusionBundle) -> Names:
    return {"skeleton": bundle.skeleton, "text_encoder": bundle.text_encoder, "fingerprint": bundle.fingerprint}


class PretrainedReward(RewardBundle, _Pretrained[RewardBundle]):
    """A reward model that this project trained."""

    title = "Step-aware reward of text and motion"
    _read = staticmethod(load_reward)

    @property
    def specification(self) -> dict[str, Any]:
        """The entry of its checkpoint, see `reward_spec`.

        Raises:
            ConfigError: it is a published model.
        """
        if not isinstance(self.network, StepAwareRewardModel) or self.index_tokens:
            raise ConfigError("a reward model that others published is not saved anew: keep the file it was read from")
        return reward_spec(
            self.network,
            self.space,
            self.schedule,
            **_names(self),
            omega=self.omega,
            t_min=self.t_min,
            t_max=self.t_max,
            temperature=self.temperature,
            suited=self.suited,
        )


class PretrainedVAE(VAEBundle, _Pretrained[VAEBundle]):
    """A motion VAE that this project trained."""

    title = "VAE of motions"
    _read = staticmethod(load_vae)

    @property
    def specification(self) -> dict[str, Any]:
        """The entry of its checkpoint, see `vae_spec`."""
        return vae_spec(self.network, skeleton=self.skeleton, fingerprint=self.fingerprint)


class PretrainedDiffusion(DiffusionBundle, _Pretrained[DiffusionBundle]):
    """A latent diffusion generator that this project trained, its VAE included."""

    title = "Text-to-motion diffusion on latents"
    _read = staticmethod(load_diffusion)

    @property
    def specification(self) -> dict[str, Any]:
        """The entry of its checkpoint, see `diffusion_spec`."""
        parts = self.latents, self.denoiser, self.schedule
        return diffusion_spec(*parts, prediction=self.prediction, **_names(self))


class PretrainedMotionDiffusion(MotionDiffusionBundle, _Pretrained[MotionDiffusionBundle]):
    """A motion-space diffusion generator that this project trained."""

    title = "Text-to-motion diffusion on motions"
    _read = staticmethod(load_motion_diffusion)

    @property
    def specification(self) -> dict[str, Any]:
        """The entry of its checkpoint, see `motion_diffusion_spec`."""
        return motion_diffusion_spec(self.denoiser, self.schedule, prediction=self.prediction, **_names(self))


class PretrainedEvaluator(EvaluatorBundle, _Pretrained[EvaluatorBundle]):
    """An evaluator that this project trained."""

    title = "Evaluator of text-to-motion generation"
    _read = staticmethod(load_evaluator_bundle)

    @property
    def specification(self) -> dict[str, Any]:
        """The entry of its checkpoint, see `evaluator_spec`."""
        names = {"skeleton": self.skeleton, "fingerprint": self.fingerprint}
        return evaluator_spec(self.network, self.vocabulary, self.reading, **names)


PRETRAINED: dict[str, type[_Pretrained[Any]]] = {
    "reward": PretrainedReward,
    "vae": PretrainedVAE,
    "diffusion": PretrainedDiffusion,
    "motion_diffusion": PretrainedMotionDiffusion,
    "evaluator": PretrainedEvaluator,
}
"""The class of each kind of checkpoint."""


def export_model(checkpoint: Path, out: Path, suited: SuitedGuidance | None = None) -> Path:
    """Write a checkpoint's model as a folder: configuration, weights and a card.

    Args:
        checkpoint: a checkpoint of this project's trainings, of any kind.
        out: the folder, new or empty.
        suited: the guidance measured to suit a reward, in place of what it remembers; None keeps that.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, unsafe, or its weights do not fit.
        ConfigError: the folder holds something, or guidance is given for another model than a reward.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"out is {out}, which exists and is no empty folder; choose a new one")
    kind = CheckpointFile.read(checkpoint, *PRETRAINED).field("kind", str)
    model = PRETRAINED[kind].from_pretrained(checkpoint)
    if suited is not None:
        if not isinstance(model, PretrainedReward):
            raise ConfigError(f"{checkpoint}: is a {kind!r} checkpoint, and guidance suits a reward; leave it out")
        model = replace(model, suited=suited)
    model.save_pretrained(out)
    return out
