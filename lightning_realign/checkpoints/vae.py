"""The checkpoint of a motion VAE: kind "vae", with the weights `network.*` and `normaliser.*`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lightning_realign.checkpoints.entry import CheckpointFile
from lightning_realign.files.weights import state_under
from lightning_realign.models import MotionVAE, VAEArchitecture
from lightning_realign.motion.normaliser import Normaliser


@dataclass(frozen=True)
class VAEBundle:
    """A trained motion VAE, in eval mode and frozen, with all that using it needs."""

    network: MotionVAE
    normaliser: Normaliser
    skeleton: str
    fingerprint: str

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights or statistics, by the name it has in a checkpoint."""
        return {"network": self.network, "normaliser": self.normaliser}


def vae_spec(network: MotionVAE, *, skeleton: str, fingerprint: str) -> dict[str, Any]:
    """The entry that a VAE's LightningModule stores as `checkpoint[SPEC_KEY]`."""
    return {
        "kind": "vae",
        "skeleton": skeleton,
        "num_features": network.num_features,
        "architecture": asdict(network.architecture),
        "fingerprint": fingerprint,
    }


def load_vae(path: str | Path) -> VAEBundle:
    """Load a motion VAE: its own checkpoint, or the one within a generator's.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe or of another kind, or its weights do not fit.
    """
    file = CheckpointFile.read(Path(path), "vae", "diffusion")
    within = file.spec["kind"] == "diffusion"
    if within:
        file = replace(file, weights=_vae_within(file.weights))
    network = build_vae(file, "vae" if within else "architecture")
    names = file.field("skeleton", str), file.field("fingerprint", str)
    bundle = VAEBundle(network, Normaliser(network.num_features), *names)
    file.load(bundle.modules)
    return bundle


def _vae_within(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A VAE's own weights, of those of a generator on its latents."""
    own = {f"network.{key}": value for key, value in state_under(weights, "latents.vae").items()}
    return own | {key: value for key, value in weights.items() if key.startswith("normaliser.")}


def build_vae(file: CheckpointFile, architecture: str) -> MotionVAE:
    """The VAE whose architecture is the named entry, with random weights."""
    sizes = {"num_features": file.field("num_features", int)}
    return file.build(MotionVAE, sizes, file.part(architecture, VAEArchitecture))
