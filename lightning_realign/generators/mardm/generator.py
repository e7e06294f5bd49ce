"""MARDM (Meng et al., arXiv 2411.16575) from its public files, github.com/neu-vi/MARDM."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lightning_realign.errors import ConfigError
from lightning_realign.generators.base import LoadOptions
from lightning_realign.generators.mardm.denoising import CodeDenoising, DiffusionDenoising, FlowDenoising
from lightning_realign.generators.mardm.files import read_parts, read_statistics
from lightning_realign.generators.masked import MaskedBatch, MaskedCodeGenerator
from lightning_realign.generators.momask.tokens import masked_shares
from lightning_realign.models.published.mardm import MaskedCodeTransformer, MotionAutoencoder
from lightning_realign.motion import load_skeleton
from lightning_realign.motion.completion import complete_features
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.types import valid_mask

# Rounds of the published sampling. Each round denoises all codes that are not settled yet.
ROUNDS = 18
# Classifier-free guidance of the published evaluation; KIT-ML has its own.
_CFG_SCALES = {"humanml3d": 4.5, "kit": 2.5}


@dataclass(frozen=True)
class MARDMSettings:
    """How MARDM is sampled.

    Attributes:
        denoising: how the codes of one round are denoised.
        cfg_scale: scale of classifier-free guidance; 1 is purely conditional, at half the cost.
        rounds: in how many rounds the masked codes are filled in.

    Raises:
        ConfigError: a setting out of range.
    """

    denoising: CodeDenoising
    cfg_scale: float = 4.5
    rounds: int = ROUNDS

    def __post_init__(self) -> None:
        if not math.isfinite(self.cfg_scale):
            raise ConfigError(f"generator cfg_scale={self.cfg_scale} is not finite; give a number, 1 for no guidance")
        if self.rounds < 1:
            raise ConfigError(f"generator rounds={self.rounds}: need at least 1")


class MARDMGenerator(MaskedCodeGenerator):
    """`MaskedGenerator` over MARDM's transformer, its denoising network and its autoencoder.

    A motion's codes are settled in rounds. Each round denoises all codes that are not settled yet, and keeps a share of
    them, in a random order. A reward guides the denoising. It reads the motion that all codes decode to, the settled
    ones and the predicted ones.

    The autoencoder makes the first blocks of the feature vector; the others follow from the joints, see
    `complete_features`. Each motion is decoded as if it were alone, so that it does not depend on its batch. In the
    public code it does: the decoder mixes a batch's padding into a motion's last frames.

    Args:
        codec: the autoencoder.
        transformer: the other networks.
        normaliser: statistics of the features that the autoencoder makes.
        skeleton: name of the feature spec.
        settings: how it is sampled.
        options: only its text encoder and the folder of cached text features are used.
    """

    def __init__(
        self,
        codec: MotionAutoencoder,
        transformer: MaskedCodeTransformer,
        normaliser: Normaliser,
        skeleton: str,
        settings: MARDMSettings,
        options: LoadOptions | None = None,
    ) -> None:
        modules = {"codec": codec, "transformer": transformer, "normaliser": normaliser}
        super().__init__(skeleton, codec.sizes.frames_per_code, modules, normaliser, options)
        self.codec, self.transformer, self.settings = codec, transformer, settings
        self._spec = load_skeleton(skeleton)

    @property
    def denoising_steps(self) -> int:
        """Steps of one round's denoising."""
        return self.settings.denoising.steps

    @property
    def evaluations(self) -> int:
        """Evaluations of the transformer and of the denoising network per generated motion."""
        both = 1 if self.settings.cfg_scale == 1 else 2
        return self.settings.rounds * both * (1 + self.settings.denoising.evaluations)

    def _generate(self, batch: MaskedBatch) -> Tensor:
        return self._features(self._codes(batch), batch.lengths)

    def _codes(self, batch: MaskedBatch) -> Tensor:
        """Codes [B, n, C], zero beyond a motion's own."""
        own = valid_mask(batch.counts, int(batch.counts.max()))
        masked = self.transformer.mask_latent
        codes = masked.where(own[..., None], 0.0)
        order = batch.streams.uniform().masked_fill(~own, torch.inf)
        for share in masked_shares(self.settings.rounds):
            ranks = order.argsort(dim=1, stable=True).argsort(dim=1)
            hidden = ranks < (share * batch.counts).round().clamp_min(1)[:, None]
            codes = torch.where(hidden[..., None], masked, codes)
            fresh = self._denoised(codes, hidden, batch)
            codes = torch.where(hidden[..., None], fresh, codes)
            order = order.masked_fill(~hidden, torch.inf)
        return codes

    def _denoised(self, codes: Tensor, hidden: Tensor, batch: MaskedBatch) -> Tensor:
        """Codes [B, n, C], fresh ones where `hidden` [B, n]."""
        scale, head = self.settings.cfg_scale, self.transformer.head
        conditions = [self.transformer(codes, batch.text, batch.counts)[hidden]]
        if scale != 1:
            conditions.append(self.transformer(codes, torch.zeros_like(batch.text), batch.counts)[hidden])

        def field(x: Tensor, t: float) -> Tensor:
            outputs = head(x[hidden].repeat(len(conditions), 1), t, torch.cat(conditions)).chunk(len(conditions))
            mixed = outputs[0] if scale == 1 else outputs[1] + scale * (outputs[0] - outputs[1])
            return torch.zeros_like(x).masked_scatter(hidden[..., None], mixed)

        def features_of(clean: Tensor) -> Tensor:
            return self._features(torch.where(hidden[..., None], clean, codes), batch.lengths)

        def step_guide(step: int, clean: Tensor) -> Tensor | None:
            return None if batch.guide is None else batch.guide(step, clean, features_of)

        return self.settings.denoising.run(field, lambda: batch.streams.normal(codes.shape[2]).to(codes), step_guide)

    @torch.no_grad()
    def reconstruct(self, features: Tensor, lengths: Tensor) -> Tensor:
        """What codes keep of real motions [B, T, D], in the data set's own units."""
        lengths = lengths.to(self.device)
        first = features[..., : self.codec.num_features].to(self.device, self.dtype)
        return self._features(self.codec.encode(self.normaliser.normalise(first), lengths), lengths)

    def _features(self, codes: Tensor, lengths: Tensor) -> Tensor:
        """Features [B, T, D] of codes [B, n, C]. Each motion is completed on its own. Differentiable."""
        motions = self.normaliser.denormalise(self.codec.decode(codes, self.counts(lengths)))
        whole: dict[int, Tensor] = {}
        for length in sorted(set(lengths.tolist())):
            rows = (lengths == length).nonzero()[:, 0]
            whole.update(zip(rows.tolist(), complete_features(motions[rows, :length], self._spec), strict=True))
        return torch.nn.utils.rnn.pad_sequence([whole[row] for row in range(len(whole))], batch_first=True)


def load(checkpoint: Path, options: LoadOptions) -> MARDMGenerator:
    """A generator from `checkpoints/t2m/MARDM_SiT_XL` or `MARDM_DDPM_XL`, with the autoencoder in `AE` beside it.

    Only the folder's name says which of the two it is. The statistics are the public repository's
    `utils/eval_mean_std`, if they lie in the folder `options.statistics` or beside the checkpoint. Otherwise they are
    the beginnings of the data set's own.

    Args:
        checkpoint: that folder.
        options: `steps` of each round's denoising (by default 25 of the midpoint rule for SiT, 50 for DDPM),
            `cfg_scale` (published: 4.5; 2.5 for KIT-ML), the statistics and the text encoder are used.

    Raises:
        CheckpointError: a folder or file that is missing, unsafe to read, or of another model.
        ConfigError: settings that it does not have, or no statistics.
        DataError: statistics that are missing or do not fit.
    """
    if options.sampling.scheduler is not None:
        raise ConfigError(
            f"generator scheduler={options.sampling.scheduler!r}: MARDM's files say how they are sampled; leave "
            "scheduler out"
        )
    parts = read_parts(checkpoint)
    denoising: CodeDenoising
    if parts.flow:
        denoising = FlowDenoising() if options.sampling.steps is None else FlowDenoising(options.sampling.steps)
    else:
        denoising = (
            DiffusionDenoising() if options.sampling.steps is None else DiffusionDenoising(options.sampling.steps)
        )
    scale = options.sampling.cfg_scale if options.sampling.cfg_scale is not None else _CFG_SCALES[parts.skeleton]
    normaliser = read_statistics(checkpoint, parts.codec.num_features, parts.skeleton, options)
    settings = MARDMSettings(denoising, scale)
    return MARDMGenerator(parts.codec, parts.transformer, normaliser, parts.skeleton, settings, options)
