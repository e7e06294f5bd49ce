"""The text-conditioned latent denoiser of MLD (Chen et al., CVPR 2023) and MLD++ (Dai et al., MotionLCM-V2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.models.blocks import LearnedPositions, StepEmbedding, check_sizes, skip_encoder


@dataclass(frozen=True)
class DenoiserArchitecture:
    """Constructor arguments of `LatentDenoiser` apart from the latent's and text's sizes; the defaults are MLD's."""

    width: int = 256
    layers: int = 9
    heads: int = 4
    feedforward: int = 1024
    dropout: float = 0.1
    text_relu: bool = True
    max_tokens: int = 500
    norm_first: bool = False
    text_scale: float = 1.0


class LatentDenoiser(nn.Module):
    """Predicts the noise (or the clean latent, as trained) of noisy latents from the timestep and a sentence embedding.

    The sequence is [latent tokens, time token, text token]; lengths are the VAE's business. Where d differs from the
    width, `latent_pre` and `latent_post` project between the two, as in the public MLD++ checkpoints.

    Args:
        latent_tokens: n.
        latent_size: d.
        text_size: S, channels of a sentence embedding, even (it is also the size of the timestep's sinusoid).
        width: channels of a transformer token.
        layers: transformer layers, odd.
        heads: attention heads.
        feedforward: channels of the feed-forward layers.
        dropout: dropout probability while training.
        text_relu: pass the text embedding through a ReLU first, as MLD does and MLD++ does not.
        max_tokens: rows of the position table.
        norm_first: normalise each layer's input rather than its output: bears learning rates several times higher,
            for short trainings. No weights are added; False is the published form.
        text_scale: factor on the text embedding. One of unit length has tiny channels, which a short training hardly
            hears; sqrt(text_size) gives them unit variance. 1 is the published form.

    Raises:
        ConfigError: sizes that no network can be built from.
    """

    def __init__(
        self,
        latent_tokens: int,
        latent_size: int,
        text_size: int,
        *,
        width: int = 256,
        layers: int = 9,
        heads: int = 4,
        feedforward: int = 1024,
        dropout: float = 0.1,
        text_relu: bool = True,
        max_tokens: int = 500,
        norm_first: bool = False,
        text_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.latent_tokens, self.latent_size, self.text_size = latent_tokens, latent_size, text_size
        self.text_scale = text_scale
        self.architecture = DenoiserArchitecture(
            width, layers, heads, feedforward, dropout, text_relu, max_tokens, norm_first, text_scale
        )
        check_sizes(self.architecture, latent_tokens=latent_tokens, latent_size=latent_size)
        if text_size < 2 or text_size % 2:
            raise ConfigError(f"text_size={text_size}: must be even, since the timestep's sinusoid has that size")
        self.time_embedding = StepEmbedding(text_size, width)
        self.emb_proj = nn.Sequential(nn.ReLU() if text_relu else nn.Identity(), nn.Linear(text_size, width))
        self.query_pos = LearnedPositions(max_tokens, width)
        self.encoder = skip_encoder(self.architecture)
        self.latent_pre: nn.Linear | None = None
        self.latent_post: nn.Linear | None = None
        if latent_size != width:
            self.latent_pre = nn.Linear(latent_size, width)
            self.latent_post = nn.Linear(width, latent_size)

    def forward(self, latent: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """Predict from noisy latents.

        Args:
            latent: [B, n, d].
            t: [B] the scheduler's integer timesteps (diffusers' indices), or one for all.
            text: [B, S] sentence embeddings.

        Returns:
            [B, n, d].

        Raises:
            FeatureSpecError: latents or texts of another size.
        """
        if latent.shape[1:] != (self.latent_tokens, self.latent_size) or text.shape != (len(latent), self.text_size):
            raise FeatureSpecError(
                f"latent {tuple(latent.shape)} and text {tuple(text.shape)}: the denoiser expects "
                f"[B, {self.latent_tokens}, {self.latent_size}] and [B, {self.text_size}]"
            )
        tokens = latent if self.latent_pre is None else self.latent_pre(latent)
        step = self.time_embedding(t.reshape(-1).expand(len(latent)))
        sequence = torch.cat((tokens.transpose(0, 1), step[None], self.emb_proj(self.text_scale * text)[None]))
        padding = torch.zeros(len(latent), len(sequence), dtype=torch.bool, device=latent.device)
        encoded = self.encoder(self.query_pos(sequence), padding)[: self.latent_tokens].transpose(0, 1)
        result: Tensor = encoded if self.latent_post is None else self.latent_post(encoded)
        return result
