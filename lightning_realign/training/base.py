"""What all trainings share: data, text and VAE at the start, the optimiser, seeding, and what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from lightning_realign.checkpoints.entry import SPEC_KEY, with_version
from lightning_realign.data.datamodule import MotionTextDataModule, data_of
from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.files.hashing import stable_key
from lightning_realign.files.ranks import fill_first
from lightning_realign.models import LatentSpace, MotionVAE
from lightning_realign.motion import Skeleton, load_skeleton, skeleton_label, skeleton_reference
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.motion.skeleton.spec import require_same_skeleton
from lightning_realign.settings.plain import plain
from lightning_realign.settings.training import OptimiserConfig
from lightning_realign.text import CachedTextEncoder
from lightning_realign.training.latents import FrozenVAE
from lightning_realign.training.optim import adamw_with_schedule
from lightning_realign.types import Gaussian, MotionTextBatch, zero_padding

Stage = Literal["fit", "validate", "test", "predict"]


def derived_seed(*parts: int | str) -> int:
    """A seed in [0, 2^63) from the parts, the same in every process and on every machine."""
    return stable_key(":".join(map(str, parts)))


def _note_weights(module: nn.Module, _: object) -> None:
    module.has_weights = True  # type: ignore[assignment]


class TrainingModule(L.LightningModule):
    """Base of the LightningModules that fit.

    A subclass makes its networks, and defines the steps and `specification`. The calls of a run, in this order:

    1. `__init__`: the subclass keeps its settings, and makes the networks whose sizes follow from them.
    2. `setup`: the VAE is read and `build_networks` makes the networks on its latents; `adopt` takes from the data set
       what the networks need; the captions are encoded.
    3. `on_load_checkpoint`, in a run that has a checkpoint: `make_networks` makes what is still missing, and Lightning
       loads all weights.
    4. `on_fit_start`: `start` brings fresh weights to where training begins.
    5. `on_train_batch_start`: every batch is seeded on its own.
    6. `on_save_checkpoint`: `specification` says what the weights are.

    Args:
        kind: what the module's checkpoints are, as in `lightning_realign.checkpoints.entry`.
        skeleton: the feature spec that the data set must have: a name, or the path of an own one, see `load_skeleton`.
        optimiser: settings of the optimiser.
        seed: of everything random in training; the same seed and data give the same run, interrupted or not.
        text: the frozen encoder of the captions; None for a module that reads words.
        vae: the frozen VAE on whose latents the module trains; None for a module that trains on motions.

    Attributes:
        normaliser: statistics of the motions; with a VAE they are the VAE's own.
        latents: the VAE and the statistics of its latents; None until it has arrived.
        has_weights: whether the weights come from a checkpoint or a fit.

    Raises:
        ConfigError: an unknown skeleton.
    """

    def __init__(
        self,
        kind: str,
        skeleton: str,
        optimiser: OptimiserConfig,
        seed: int,
        text: CachedTextEncoder | None = None,
        vae: FrozenVAE | None = None,
    ) -> None:
        super().__init__()
        self.kind, self.optimiser, self.seed = kind, optimiser, seed
        self.skeleton: Skeleton = load_skeleton(skeleton)
        self.normaliser = Normaliser(self.skeleton.num_features)
        self.text, self.vae = text, vae
        self.latents: LatentSpace | None = None
        self.fingerprint = ""
        self.has_weights = False
        self.register_load_state_dict_post_hook(_note_weights)  # type: ignore[no-untyped-call]

    def save_settings(self, **settings: Any) -> None:
        """Keep the constructor's arguments as hyper-parameters, which are plain values in a checkpoint."""
        self.save_hyperparameters(plain(settings))

    # What a subclass may define.

    def build_networks(self) -> None:
        """Make the networks whose sizes follow from the latents, once the VAE has arrived."""
        raise NotImplementedError(f"{type(self).__name__} has no networks on latents")

    def adopt(self, data: MotionTextDataModule) -> None:
        """Take from the data set what the networks need, before the first step of a fit."""
        if self.vae is None:
            self.normaliser.set(data.normaliser.mean, data.normaliser.std)

    def captions(self, stage: str) -> list[str]:
        """The captions that a stage reads."""
        return self.data.captions(cast("Stage", stage))

    def make_networks(self, spec: Mapping[str, Any]) -> None:
        """Make the networks whose sizes are in the checkpoint's entry, before its weights are loaded."""
        if self.vae is not None and self.latents is None and spec.get("vae") is not None:
            self._set_vae(MotionVAE(self.skeleton.num_features, **spec["vae"]))
            self.renew_averages()

    def start(self) -> None:
        """Bring fresh weights to where training begins: measure the latents on the training split."""
        if self.vae is not None:
            measured = self.vae.measure(latent for _, latent in self._training_latents())
            self.latent_space.statistics.set(*self.trainer.strategy.broadcast(measured))

    def specification(self) -> dict[str, Any]:
        """What the checkpoint says of itself: kind, architecture, feature spec, text encoder, schedule."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its checkpoints hold")

    # What a subclass calls.

    @property
    def data(self) -> MotionTextDataModule:
        """The trainer's data module, see `data_of`."""
        return data_of(self)

    @property
    def latent_space(self) -> LatentSpace:
        """The VAE and the statistics of its latents.

        Raises:
            ConfigError: no VAE was given.
            CheckpointError: the VAE's file does not exist.
        """
        if self.latents is None:
            raise (self.vae or FrozenVAE(type(self).__name__, None)).missing()
        return self.latents

    def normalised(self, batch: MotionTextBatch) -> Tensor:
        """The batch's features normalised, [B, T, D], zero beyond each length."""
        return zero_padding(self.normaliser.normalise(batch.motion), batch.lengths)

    @torch.no_grad()
    def encoded(self, batch: MotionTextBatch) -> Gaussian:
        """The batch's latents [B, n, d]; while training they come from the cache where there is one."""
        cached = self.vae.from_cache(batch.ids) if self.vae is not None and self.training else None
        return self.latent_space.encode(self.normalised(batch), batch.lengths) if cached is None else cached

    def training_split(self) -> Iterator[MotionTextBatch]:
        """All motions of the training split in their fixed crops, each once, in one order on every rank."""
        return (batch.to(self.device) for batch in self.data.gallery_dataloader())

    # What Lightning calls.

    def setup(self, stage: str) -> None:
        """Read the VAE, check the data set, take its statistics (in a fit), and encode the stage's captions.

        A run with a checkpoint gets the checkpoint's statistics right after, when Lightning restores the weights.

        Raises:
            ConfigError: the trainer has no data module of this project.
            FeatureSpecError: the data set has another skeleton.
        """
        self.read_vae()
        data = self.data
        remedy = "set model.skeleton, or use another checkpoint or data set"
        require_same_skeleton(type(self).__name__, self.skeleton, "the data set", data.skeleton, remedy)
        if stage == "fit":
            self.fingerprint = data.fingerprint
            self.adopt(data)
            self.renew_averages()
        encoder = self.text
        if encoder is not None:
            captions = self.captions(stage)
            fill_first(self.trainer, lambda: encoder.prepare(captions), "text features")

    def read_vae(self) -> None:
        """Read the VAE and make the networks on its latents, if its file is there and no checkpoint brought one."""
        bundle = self.vae.read(self.skeleton) if self.vae is not None and self.latents is None else None
        if bundle is not None:
            self.normaliser.set(bundle.normaliser.mean, bundle.normaliser.std)
            self._set_vae(bundle.network)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW over everything trainable, with warm-up and a cosine over the whole run.

        Raises what `latent_space` raises, where the networks need it.
        """
        if self.vae is not None:
            _ = self.latent_space
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return adamw_with_schedule(trainable, self.optimiser, float(self.trainer.estimated_stepping_batches))

    def on_fit_start(self) -> None:
        """Bring fresh weights to where they start from; weights of a checkpoint stay as they are. Fill the cache."""
        if not self.has_weights:
            self.start()
            self.renew_averages()
        self.has_weights = True
        if self.vae is not None and self.vae.cached:
            self.vae.fill_cache((batch.ids, latent) for batch, latent in self._training_latents())

    def on_train_batch_start(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Seed every batch on its own, so that resuming continues exactly, and no two ranks draw the same noise."""
        torch.manual_seed(derived_seed(self.seed, self.current_epoch, batch_idx, self.global_rank))

    def on_validation_start(self) -> None:
        """Refuse to measure weights that were never trained."""
        self._require_weights("validate")

    def on_test_start(self) -> None:
        """Refuse to measure weights that were never trained."""
        self._require_weights("test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint self-contained."""
        checkpoint[SPEC_KEY] = with_version(self.specification())
        # The whole spec in place of the path of an own one.
        checkpoint.get("hyper_parameters", {})["skeleton"] = skeleton_reference(self.skeleton)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another kind, feature spec or architecture before its weights fail to fit.

        Raises:
            CheckpointError: the checkpoint does not fit this module.
        """
        found = checkpoint.get(SPEC_KEY, {})
        name = f"the checkpoint given to {type(self).__name__}"
        for field, wanted in (("kind", self.kind), ("skeleton", skeleton_reference(self.skeleton))):
            value = found.get(field)
            if value != wanted:
                given = skeleton_label(value) if field == "skeleton" and isinstance(value, str) else value
                raise CheckpointError(
                    f"{name} has {field} {given!r}, expected {skeleton_label(wanted)!r}: give a checkpoint that this "
                    "class has written"
                )
        unknown = sorted(checkpoint.get("hyper_parameters", {}).keys() - self.hparams.keys())
        if unknown and self._trainer is None:
            raise CheckpointError(
                f"{name} has settings of an earlier version ({', '.join(unknown)}), which would be lost: make the "
                "module with the settings of today, and give the checkpoint to the trainer as ckpt_path"
            )
        self.make_networks(found)
        own, weights = self.state_dict(), checkpoint["state_dict"]
        for key in sorted(own.keys() | weights.keys()):
            shapes = [tuple(state[key].shape) if key in state else None for state in (weights, own)]
            if shapes[0] != shapes[1]:
                raise CheckpointError(
                    f"{name} has {key!r} of shape {shapes[0]}, this model needs {shapes[1]}: give the configuration "
                    "that the checkpoint was trained with"
                )

    def renew_averages(self) -> None:
        """Let weight averaging copy this module again: it did so before everything in it was known."""
        if self._trainer is None or self._trainer.state.fn != "fit":
            return
        callbacks: list[L.Callback] = getattr(self._trainer, "callbacks", [])
        for callback in callbacks:
            if isinstance(callback, WeightAveraging):
                callback.setup(self._trainer, self, "fit")

    def _set_vae(self, vae: MotionVAE) -> None:
        self.latents = LatentSpace(vae)
        self.build_networks()

    @torch.no_grad()
    def _training_latents(self) -> Iterator[tuple[MotionTextBatch, Gaussian]]:
        for batch in self.training_split():
            yield batch, self.latent_space.encode(self.normalised(batch), batch.lengths)

    def _require_weights(self, command: str) -> None:
        if not self.has_weights:
            raise ConfigError(
                f"{type(self).__name__} has random weights, which {command} would measure: give the checkpoint of a "
                "trained one with --ckpt_path"
            )
