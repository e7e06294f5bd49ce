"""The checkpoint of a motion VAE: kind "vae", with the weights `network.*` and `normaliser.*`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lightning_realign.checkpoints.entry import CheckpointFile
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
    """Load a motion VAE.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe or of another kind, or its weights do not fit.
    """
    file = CheckpointFile.read(Path(path), "vae")
    network = build_vae(file, "architecture")
    names = file.field("skeleton", str), file.field("fingerprint", str)
    bundle = VAEBundle(network, Normaliser(network.num_features), *names)
    file.load(bundle.modules)
    return bundle


def build_vae(file: CheckpointFile, architecture: str) -> MotionVAE:
    """The VAE whose architecture is the named entry, with random weights."""
    sizes = {"num_features": file.field("num_features", int)}
    return file.build(MotionVAE, sizes, file.part(architecture, VAEArchitecture))
