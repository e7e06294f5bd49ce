"""The motion VAE of MLD (Chen et al., CVPR 2023) and, with small latents, of MLD++ (Dai et al., MotionLCM-V2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_realign.errors import FeatureSpecError
from lightning_realign.models.blocks import (
    LearnedPositions,
    check_motion,
    check_sizes,
    decode_frames,
    group_frames,
    skip_decoder,
    skip_encoder,
    token_lengths,
)
from lightning_realign.types import Gaussian, valid_mask


@dataclass(frozen=True)
class VAEArchitecture:
    """Constructor arguments of `MotionVAE` apart from the data's sizes; the defaults are MLD's."""

    latent_tokens: int = 1
    latent_size: int = 256
    width: int = 256
    layers: int = 9
    heads: int = 4
    feedforward: int = 1024
    dropout: float = 0.1
    patch: int = 1
    max_tokens: int = 500
    aligned: bool = False
    norm_first: bool = False


class MotionVAE(nn.Module):
    """A transformer VAE that keeps a motion of any length in n latent tokens of d channels.

    MLD has 1 x 256, MLD++ 16 x 32. Where d differs from the width, `latent_pre` and `latent_post` project between the
    two, as in the public checkpoints.

    Args:
        num_features: D, features of a frame.
        latent_tokens: n.
        latent_size: d.
        width: channels of a transformer token.
        layers: layers of encoder and decoder, odd.
        heads: attention heads.
        feedforward: channels of the feed-forward layers.
        dropout: dropout probability while training.
        patch: frames per transformer token; 1 is the published architecture.
        max_tokens: rows of the position tables; a motion may have (max_tokens - 2 n) * patch frames.
        aligned: lay the latents along the motion: a latent's encoder token starts from the frames of its stretch, and
            a frame's query from the latents around it. No weights are added; small data sets and short trainings
            reconstruct far better. False is the published form.
        norm_first: normalise each layer's input rather than its output. Short trainings can then use a learning rate
            several times higher. No weights are added; False is the published form.

    Raises:
        ConfigError: sizes that no network can be built from.
    """

    def __init__(
        self,
        num_features: int,
        *,
        latent_tokens: int = 1,
        latent_size: int = 256,
        width: int = 256,
        layers: int = 9,
        heads: int = 4,
        feedforward: int = 1024,
        dropout: float = 0.1,
        patch: int = 1,
        max_tokens: int = 500,
        aligned: bool = False,
        norm_first: bool = False,
    ) -> None:
        super().__init__()
        self.num_features, self.latent_tokens, self.latent_size = num_features, latent_tokens, latent_size
        self.patch, self.aligned = patch, aligned
        self.architecture = VAEArchitecture(
            latent_tokens,
            latent_size,
            width,
            layers,
            heads,
            feedforward,
            dropout,
            patch,
            max_tokens,
            aligned,
            norm_first,
        )
        check_sizes(
            self.architecture,
            num_features=num_features,
            latent_tokens=latent_tokens,
            latent_size=latent_size,
            patch=patch,
        )
        self.global_motion_token = nn.Parameter(torch.randn(2 * latent_tokens, width))
        self.query_pos_encoder = LearnedPositions(max_tokens, width)
        self.query_pos_decoder = LearnedPositions(max_tokens, width)
        self.encoder = skip_encoder(self.architecture)
        self.decoder = skip_decoder(self.architecture)
        self.skel_embedding = nn.Linear(patch * num_features, width)
        self.final_layer = nn.Linear(width, patch * num_features)
        self.latent_pre: nn.Linear | None = None
        self.latent_post: nn.Linear | None = None
        if latent_size != width:
            self.latent_pre = nn.Linear(width, latent_size)
            self.latent_post = nn.Linear(latent_size, width)

    def encode(self, motion: Tensor, lengths: Tensor) -> Gaussian:
        """Encode normalised motions.

        Args:
            motion: [B, T, D]; what lies beyond `lengths` is ignored.
            lengths: [B] frames.

        Returns:
            The latents' distribution, [B, n, d].

        Raises:
            FeatureSpecError: another feature size, or a motion of more tokens than the position table has.
        """
        check_motion(motion, lengths, self.num_features)
        frames, valid = group_frames(motion, lengths, self.patch)
        tokens = self.global_motion_token[:, None].expand(-1, len(motion), -1)
        embedded = self.skel_embedding(frames)
        if self.aligned:
            weights = stretch_weights(valid, len(frames), self.latent_tokens).to(embedded.dtype)
            # The first half of the tokens becomes the means, the second the logvars.
            means, logvars = tokens.chunk(2)
            tokens = torch.cat((means + torch.einsum("bns,sbw->nbw", weights, embedded), logvars))
        sequence = self.query_pos_encoder(torch.cat((tokens, embedded)))
        padding = ~valid_mask(valid + len(tokens), len(sequence))
        encoded = self.encoder(sequence, padding)[: len(tokens)].transpose(0, 1)
        if self.latent_pre is not None:
            encoded = self.latent_pre(encoded)
        mean, logvar = encoded.chunk(2, dim=1)
        return Gaussian(mean, logvar)

    def decode(self, latent: Tensor, lengths: Tensor, size: int) -> Tensor:
        """Decode latents [B, n, d] to normalised motions [B, size, D], zero beyond `lengths` [B].

        Raises:
            FeatureSpecError: latents of another shape.
        """
        if latent.shape[1:] != (self.latent_tokens, self.latent_size):
            raise FeatureSpecError(
                f"latent has shape {tuple(latent.shape)}, the VAE expects [B, {self.latent_tokens}, {self.latent_size}]"
            )
        memory = (latent if self.latent_post is None else self.latent_post(latent)).transpose(0, 1)
        queries = None
        if self.aligned:
            tokens = -(-size // self.patch)
            weights = neighbour_weights(token_lengths(lengths, self.patch), tokens, self.latent_tokens)
            queries = torch.einsum("bsn,nbw->sbw", weights.to(memory.dtype), memory)
        return decode_frames(
            self.decoder, self.query_pos_decoder, self.final_layer, memory, lengths, size, self.patch, queries
        )


def _offsets(lengths: Tensor, size: int, slots: int) -> Tensor:
    """Distance [B, size, slots], in slots, of token j of `lengths` [B] from each of the slots along the motion."""
    place = (torch.arange(size, device=lengths.device) + 0.5)[None] / lengths[:, None]
    centre = (torch.arange(slots, device=lengths.device) + 0.5) / slots
    return (place.clamp(centre[0], centre[-1])[..., None] - centre).abs() * slots


def neighbour_weights(lengths: Tensor, size: int, slots: int) -> Tensor:
    """Weights [B, size, slots] that interpolate linearly between the slots around each token; each token's sum to 1."""
    return (1.0 - _offsets(lengths, size, slots)).clamp_min(0.0)


def stretch_weights(lengths: Tensor, size: int, slots: int) -> Tensor:
    """Weights [B, slots, size] that average, for each slot, the valid tokens around it; each slot's sum to 1."""
    # A motion of fewer tokens than slots needs wider windows, so that none is empty.
    reach = (slots / lengths).clamp_min(1.0)[:, None, None]
    near = (reach - _offsets(lengths, size, slots)).clamp_min(0.0) * valid_mask(lengths, size)[..., None]
    return (near / near.sum(dim=1, keepdim=True)).transpose(1, 2)
