"""The text-conditioned latent denoiser of MLD (Chen et al., CVPR 2023), MLD++ and MotionLCM (Dai et al., ECCV 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.models.blocks import LearnedPositions, StepEmbedding, check_sizes, sinusoid, skip_encoder


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
    guidance_size: int = 0


def guidance_embedding(w: Tensor, size: int) -> Tensor:
    """[sin | cos] of 1000 w [B] at `size` / 2 frequencies from 1 down to exactly 1 / 10000, as float32 [B, size].

    Evaluated in float32, as in the public training: the angles are in the thousands, so float64 would give a network
    other numbers than it was trained on, by up to 5e-4.
    """
    spacing = torch.tensor(10000.0).log() / (size // 2 - 1)
    frequencies = (-spacing * torch.arange(size // 2, dtype=torch.float32)).exp()
    angles = 1000.0 * w.to(torch.float32)[:, None] * frequencies.to(w.device)
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


class GuidedStepEmbedding(StepEmbedding):
    """Embeds timesteps [B] and guidance weights [B]: `cond_proj` adds the weights' embedding to the sinusoid."""

    def __init__(self, size: int, width: int, guidance_size: int) -> None:
        super().__init__(size, width)
        self.guidance_size = guidance_size
        self.cond_proj = nn.Linear(guidance_size, size, bias=False)

    def embed(self, t: Tensor, w: Tensor) -> Tensor:
        """Embed t [B] and w [B] together, giving [B, width]."""
        weight = self.linear_1.weight
        guidance = guidance_embedding(w.to(weight.device), self.guidance_size).to(weight.dtype)
        combined = sinusoid(t, self.size).to(weight.dtype) + self.cond_proj(guidance)
        embedded: Tensor = self.linear_2(F.silu(self.linear_1(combined)))
        return embedded


class LatentDenoiser(nn.Module):
    """Predicts the noise (or the clean latent, as trained) of noisy latents from the timestep and a sentence embedding.

    The sequence is [latent tokens, time token, text token]; it does not depend on lengths. Where d differs from the
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
        norm_first: normalise each layer's input rather than its output. Short trainings can then use a learning rate
            several times higher. No weights are added; False is the published form.
        text_scale: factor on the text embedding. An embedding of unit length has tiny channels, which a short training
            hardly uses; sqrt(text_size) gives them unit variance. 1 is the published form.
        guidance_size: channels of the embedded scale of classifier-free guidance, even (MotionLCM: 256). Consistency
            models take the scale as an input, so that one evaluation does for two. 0 for networks without this input.

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
        guidance_size: int = 0,
    ) -> None:
        super().__init__()
        self.latent_tokens, self.latent_size, self.text_size = latent_tokens, latent_size, text_size
        self.text_scale = text_scale
        self.architecture = DenoiserArchitecture(
            width, layers, heads, feedforward, dropout, text_relu, max_tokens, norm_first, text_scale, guidance_size
        )
        check_sizes(self.architecture, latent_tokens=latent_tokens, latent_size=latent_size)
        if text_size < 2 or text_size % 2:
            raise ConfigError(f"text_size={text_size}: must be even, since the timestep's sinusoid has that size")
        if guidance_size < 0 or guidance_size % 2 or guidance_size == 2:
            raise ConfigError(f"guidance_size={guidance_size}: must be 0 for none, or even and at least 4")
        self.time_embedding = (
            GuidedStepEmbedding(text_size, width, guidance_size) if guidance_size else StepEmbedding(text_size, width)
        )
        self.emb_proj = nn.Sequential(nn.ReLU() if text_relu else nn.Identity(), nn.Linear(text_size, width))
        self.query_pos = LearnedPositions(max_tokens, width)
        self.encoder = skip_encoder(self.architecture)
        self.latent_pre: nn.Linear | None = None
        self.latent_post: nn.Linear | None = None
        if latent_size != width:
            self.latent_pre = nn.Linear(latent_size, width)
            self.latent_post = nn.Linear(width, latent_size)

    def forward(self, latent: Tensor, t: Tensor, text: Tensor, w: Tensor | None = None) -> Tensor:
        """Predict from noisy latents.

        Args:
            latent: [B, n, d].
            t: [B] the scheduler's integer timesteps (diffusers' indices), or one for all.
            text: [B, S] sentence embeddings.
            w: [B] guidance weights, the scale of classifier-free guidance less 1; only where guidance_size is not 0.

        Returns:
            [B, n, d].

        Raises:
            FeatureSpecError: latents or texts of another size, or a guidance weight too many or too few.
        """
        if latent.shape[1:] != (self.latent_tokens, self.latent_size) or text.shape != (len(latent), self.text_size):
            raise FeatureSpecError(
                f"latent {tuple(latent.shape)} and text {tuple(text.shape)}: the denoiser expects "
                f"[B, {self.latent_tokens}, {self.latent_size}] and [B, {self.text_size}]"
            )
        tokens = latent if self.latent_pre is None else self.latent_pre(latent)
        step = self._embed_step(t.reshape(-1).expand(len(latent)), w)
        sequence = torch.cat((tokens.transpose(0, 1), step[None], self.emb_proj(self.text_scale * text)[None]))
        padding = torch.zeros(len(latent), len(sequence), dtype=torch.bool, device=latent.device)
        encoded = self.encoder(self.query_pos(sequence), padding)[: self.latent_tokens].transpose(0, 1)
        result: Tensor = encoded if self.latent_post is None else self.latent_post(encoded)
        return result

    def _embed_step(self, t: Tensor, w: Tensor | None) -> Tensor:
        if isinstance(self.time_embedding, GuidedStepEmbedding):
            if w is None:
                raise FeatureSpecError("the denoiser of a consistency model needs a guidance weight w per sample")
            return self.time_embedding.embed(t, w)
        if w is not None:
            raise FeatureSpecError("the denoiser takes no guidance weight w: its guidance_size is 0")
        embedded: Tensor = self.time_embedding(t)
        return embedded
