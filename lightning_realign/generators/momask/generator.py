"""MoMask (Guo et al., arXiv 2312.00063) from its public files, github.com/EricGuo5513/momask-codes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import Self

from lightning_realign.errors import ConfigError
from lightning_realign.generators.base import LoadOptions, read_normaliser
from lightning_realign.generators.masked import MaskedBatch, MaskedCodeGenerator
from lightning_realign.generators.momask.files import MoMaskParts, read_parts
from lightning_realign.generators.momask.tokens import TokenSampling, draw_tokens
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.types import zero_padding

# Classifier-free guidance of the published evaluation; KIT-ML has its own.
_CFG_SCALES = {"humanml3d": 4.0, "kit": 2.0}


class MoMaskGenerator(MaskedCodeGenerator):
    """`MaskedGenerator` over MoMask's transformers and its residual VQ-VAE.

    The transformers always compute in float64. A token is the one with the largest noisy logit. Where two logits are
    nearly equal, the last bits of float32 would choose the token, and those change with the batch's size. Each motion
    is decoded as if it were alone. A motion therefore does not depend on its batch. In the public code it does: the
    decoder mixes a batch's padding into a motion's last frames.

    Args:
        parts: the networks.
        normaliser: statistics that the autoencoder was trained with.
        settings: how tokens are drawn.
        options: only its text encoder and the folder of cached text features are used.
    """

    def __init__(
        self,
        parts: MoMaskParts,
        normaliser: Normaliser,
        settings: TokenSampling | None = None,
        options: LoadOptions | None = None,
    ) -> None:
        modules = {"codec": parts.codec, "normaliser": normaliser, "masked": parts.masked, "residual": parts.residual}
        super().__init__(parts.skeleton, parts.codec.sizes.frames_per_code, modules, normaliser, options)
        self.parts = parts
        self.settings = settings if settings is not None else TokenSampling()
        self.to()

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move the weights and statistics, in place, to a device and a precision; the transformers stay in float64."""
        super().to(device, dtype)
        for transformer in (self.parts.masked, self.parts.residual):
            transformer.double()
        return self

    @property
    def evaluations(self) -> int:
        """Evaluations of the transformers per generated motion."""
        return self.settings.evaluations(self.parts.residual.quantizers)

    @torch.no_grad()
    def condition(self, texts: Sequence[str]) -> Tensor:
        """The text embeddings [B, 512] that the transformers read, float64."""
        return self.encode_text(texts).sentence.to(self.device, torch.float64)

    @property
    def denoising_steps(self) -> int:
        """0: tokens are drawn, not denoised."""
        return 0

    def _generate(self, batch: MaskedBatch) -> Tensor:
        networks = self.parts.masked, self.parts.residual
        tokens = draw_tokens(*networks, batch.text, batch.counts, batch.streams.gumbel, self.settings)
        return self._features(tokens, batch.lengths)

    @torch.no_grad()
    def reconstruct(self, features: Tensor, lengths: Tensor) -> Tensor:
        """What tokens keep of real motions [B, T, D], in the data set's own units."""
        lengths = lengths.to(self.device)
        motion = self.normaliser.normalise(features.to(self.device, self.dtype))
        return self._features(self.parts.codec.encode(motion, lengths), lengths)

    def _features(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        motion = self.parts.codec.decode(tokens, self.counts(lengths))[:, : int(lengths.max())]
        return zero_padding(self.normaliser.denormalise(motion), lengths)


def load(checkpoint: Path, options: LoadOptions) -> MoMaskGenerator:
    """A generator from `checkpoints/t2m` or `checkpoints/kit` of the published archives.

    Its folders `rvq_*`, `t2m_*` and `tres_*` are read. The autoencoder's statistics are in `rvq_*/meta`. They are the
    data set's own, except for root and contacts, whose deviations MoMask's training divides by 5.

    Args:
        checkpoint: that folder.
        options: `steps` and `cfg_scale` of the masked transformer (by default the published evaluation's 10 steps, and
            scale 4, or 2 for KIT-ML) and the text encoder are used.

    Raises:
        CheckpointError: a folder or file that is missing, unsafe to read, or of another model.
        ConfigError: settings that it does not have, or a training of another network than the published.
        DataError: statistics that are missing or do not fit.
    """
    if options.sampling.scheduler is not None:
        raise ConfigError(
            f"generator scheduler={options.sampling.scheduler!r}: MoMask draws tokens and has no diffusion; leave "
            "scheduler out"
        )
    parts = read_parts(checkpoint)
    normaliser = read_normaliser(parts.meta, parts.codec.num_features, ("mean", "std"))
    settings = TokenSampling(
        options.sampling.steps if options.sampling.steps is not None else TokenSampling().steps,
        options.sampling.cfg_scale if options.sampling.cfg_scale is not None else _CFG_SCALES[parts.skeleton],
    )
    return MoMaskGenerator(parts, normaliser, settings, options)
