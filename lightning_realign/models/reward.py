"""The step-aware reward model of ReAlign (Weng et al., AAAI 2026): motion and text in one space, at any noise level."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.models.blocks import (
    LearnedPositions,
    SkipTransformer,
    StepEmbedding,
    check_motion,
    check_sizes,
    decode_frames,
    group_frames,
    skip_decoder,
    skip_encoder,
)
from lightning_realign.types import Gaussian, valid_mask, zero_padding


@dataclass(frozen=True)
class RewardArchitecture:
    """Constructor arguments of `StepAwareRewardModel` apart from the data's sizes; the defaults are the paper's."""

    width: int = 256
    layers: int = 9
    heads: int = 4
    feedforward: int = 1024
    dropout: float = 0.1
    patch: int = 1
    step_aware: bool = True
    max_tokens: int = 500
    norm_first: bool = False


class StepAwareRewardModel(nn.Module):
    """Encodes noisy motions (with a step token) and texts (without) as Gaussians, and decodes either latent.

    With the default arguments the state dict has the keys of the public checkpoints. As in those, both encoders share
    their final LayerNorm.

    Args:
        num_features: D, features of a frame.
        token_size: E, channels of a text token.
        width: channels of a token, and of the latents.
        layers: layers of each transformer, odd.
        heads: attention heads.
        feedforward: channels of the feed-forward layers.
        dropout: dropout probability while training.
        patch: frames per transformer token; 1 is the published architecture.
        step_aware: whether motions carry a step token; without it the model is TMR's.
        max_tokens: rows of the position tables; a motion may have (max_tokens - 2) * patch frames.
        norm_first: normalise each layer's input rather than its output. Short trainings can then use a learning rate
            several times higher. No weights are added; False is the published form.

    Raises:
        ConfigError: sizes that no network can be built from.
    """

    def __init__(
        self,
        num_features: int,
        token_size: int,
        *,
        width: int = 256,
        layers: int = 9,
        heads: int = 4,
        feedforward: int = 1024,
        dropout: float = 0.1,
        patch: int = 1,
        step_aware: bool = True,
        max_tokens: int = 500,
        norm_first: bool = False,
    ) -> None:
        super().__init__()
        self.num_features, self.token_size, self.patch, self.step_aware = num_features, token_size, patch, step_aware
        self.architecture = RewardArchitecture(
            width, layers, heads, feedforward, dropout, patch, step_aware, max_tokens, norm_first
        )
        check_sizes(self.architecture, num_features=num_features, token_size=token_size, patch=patch)
        self.global_motion_token = nn.Parameter(torch.randn(1, width))
        self.global_text_token = nn.Parameter(torch.randn(1, width))
        self.query_motion_pos_encoder = LearnedPositions(max_tokens, width)
        self.query_text_pos_encoder = LearnedPositions(max_tokens, width)
        self.query_pos_decoder = LearnedPositions(max_tokens, width)
        shared_norm = nn.LayerNorm(width)
        self.motion_encoder = skip_encoder(self.architecture, shared_norm)
        self.text_encoder = skip_encoder(self.architecture, shared_norm)
        self.decoder = skip_decoder(self.architecture)
        self.dist_motion_layer = nn.Linear(width, 2 * width)
        self.dist_text_layer = nn.Linear(width, 2 * width)
        self.skel_embedding = nn.Linear(patch * num_features, width)
        self.text_embedding = nn.Linear(token_size, width)
        self.final_layer = nn.Linear(width, patch * num_features)
        if step_aware:
            self.time_embedding = StepEmbedding(2 * width, width)

    def encode_motion(self, motion: Tensor, lengths: Tensor, t: Tensor | None) -> Gaussian:
        """Encode motions at noise level t.

        Args:
            motion: [B, T, D] normalised features; what lies beyond `lengths` is ignored.
            lengths: [B] frames.
            t: [B] integer timesteps, 0 for clean; ignored, and may be None, where the model is not step-aware.

        Returns:
            The latent's distribution, [B, width].

        Raises:
            ConfigError: a step-aware model without t.
            FeatureSpecError: another feature size, or a motion of more tokens than the position table has.
        """
        check_motion(motion, lengths, self.num_features)
        frames, valid = group_frames(motion, lengths, self.patch)
        prefix = [self.global_motion_token.expand(len(motion), -1)]
        if self.step_aware:
            if t is None:
                raise ConfigError("t=None: a step-aware reward model needs a timestep per motion, 0 for clean ones")
            prefix.append(self.time_embedding(t.expand(len(motion))))
        sequence = torch.cat((torch.stack(prefix), self.skel_embedding(frames)))
        sequence = self.query_motion_pos_encoder(sequence)
        return _distribution(self.motion_encoder, self.dist_motion_layer, sequence, valid + len(prefix))

    def encode_text(self, tokens: Tensor, lengths: Tensor) -> Gaussian:
        """Encode texts from token embeddings [B, L, E] of `lengths` [B] tokens; texts never carry a step token.

        Raises:
            FeatureSpecError: another token size, or more tokens than the position table has.
        """
        if tokens.dim() != 3 or tokens.shape[2] != self.token_size:
            raise FeatureSpecError(
                f"text tokens have shape {tuple(tokens.shape)}, the model expects [B, L, {self.token_size}]: "
                "use the text encoder it was trained with"
            )
        words = self.text_embedding(zero_padding(tokens, lengths)).transpose(0, 1)
        sequence = torch.cat((self.global_text_token.expand(1, len(tokens), -1), words))
        sequence = self.query_text_pos_encoder(sequence)
        return _distribution(self.text_encoder, self.dist_text_layer, sequence, lengths + 1)

    def decode(self, latent: Tensor, lengths: Tensor, size: int) -> Tensor:
        """Reconstruct motions [B, size, D] (normalised, zero beyond `lengths` [B]) from latents [B, width]."""
        return decode_frames(
            self.decoder, self.query_pos_decoder, self.final_layer, latent[None], lengths, size, self.patch
        )

    def similarity(self, motion_latent: Tensor, text_latent: Tensor) -> Tensor:
        """The reward: cosine similarity [B] of two latents [B, width]."""
        return F.cosine_similarity(motion_latent, text_latent, dim=-1)


def _distribution(encoder: SkipTransformer, layer: nn.Linear, sequence: Tensor, lengths: Tensor) -> Gaussian:
    """Encode [S, B, width] of `lengths` [B] valid tokens and read the distribution off the first token."""
    encoded = encoder(sequence, ~valid_mask(lengths, len(sequence)))
    mean, logvar = layer(encoded[0]).chunk(2, dim=-1)
    return Gaussian(mean, logvar)
