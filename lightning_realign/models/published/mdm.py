"""The text-conditioned motion denoiser of MDM (Tevet et al., ICLR 2023), in each of its published forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.models.blocks import check_motion, check_plain_sizes, group_frames, position_table
from lightning_realign.types import TextFeatures, valid_mask

MotionDenoiserKind = Literal["encoder", "decoder"]
TextKind = Literal["sentence", "tokens"]


@dataclass(frozen=True)
class MotionDenoiserArchitecture:
    """Constructor arguments of `MotionDenoiser` apart from the motion's and text's sizes.

    The defaults are the paper's.
    """

    kind: MotionDenoiserKind = "encoder"
    text: TextKind = "sentence"
    mask_frames: bool = False
    time_token: bool = False
    width: int = 512
    layers: int = 8
    heads: int = 4
    feedforward: int = 1024
    dropout: float = 0.1
    max_tokens: int = 5000
    norm_first: bool = False
    text_scale: float = 1.0
    patch: int = 1
    text_in_token: bool = False


class MotionDenoiser(nn.Module):
    """Predicts the clean motion (or the noise, as trained) of a noisy motion from the timestep and a text.

    Published forms, all with post-norm layers, exact GELU and no final norm:

    - encoder, sentence: sequence [time + text, frames]; the paper's model, and with `mask_frames` the 50-step one.
    - decoder, sentence: the frames attend to one memory token, time + text; with `time_token` the frames also have
      a time token before them, which `text_in_token` makes time + text, as the public code of 2022 did.
    - decoder, tokens: the memory is the text's tokens, to each of which the time is added; the 50-step model with
      DistilBERT, which masks the text's padding and the motion's.

    Without `mask_frames` the network reads all T frames, padding included: its result depends on T, and on what lies
    beyond a length. "Unconditional" is a text of zeros before `embed_text`, so that its bias remains.

    Parameters have the names of the public checkpoints. Their `sequence_pos_encoder.pe` and
    `embed_timestep.sequence_pos_encoder.pe`, whose size varies, hold the sinusoid table, which is made here and is no
    part of the state dict.

    Args:
        num_features: D.
        text_size: S, channels of a sentence embedding or of a token.
        kind: `encoder` or `decoder`.
        text: what `forward` reads of a text: `sentence`, or `tokens` (of a decoder only).
        mask_frames: mask the frames beyond a motion's length in self-attention.
        time_token: put a time token before the frames of a decoder.
        width: channels of a transformer token.
        layers: transformer layers.
        heads: attention heads.
        feedforward: channels of the feed-forward layers.
        dropout: dropout probability while training.
        max_tokens: rows of the position table; more than the frames of a motion and the timesteps of the schedule.
        norm_first: normalise each layer's input rather than its output, and the last output without weights: bears
            learning rates several times higher, for short trainings. No weights are added; False is the published form.
        text_scale: factor on the text embedding. One of unit length has tiny channels, which a short training hardly
            uses; sqrt(text_size) gives them unit variance. 1 is the published form.
        patch: frames per transformer token; 1 is the published form. Larger ones need `mask_frames`.
        text_in_token: add the text to the time token.

    Raises:
        ConfigError: sizes that no network can be built from, or a form that does not exist.
    """

    def __init__(
        self,
        num_features: int,
        text_size: int,
        *,
        kind: MotionDenoiserKind = "encoder",
        text: TextKind = "sentence",
        mask_frames: bool = False,
        time_token: bool = False,
        width: int = 512,
        layers: int = 8,
        heads: int = 4,
        feedforward: int = 1024,
        dropout: float = 0.1,
        max_tokens: int = 5000,
        norm_first: bool = False,
        text_scale: float = 1.0,
        patch: int = 1,
        text_in_token: bool = False,
    ) -> None:
        super().__init__()
        self.num_features, self.text_size = num_features, text_size
        self.architecture = MotionDenoiserArchitecture(
            kind, text, mask_frames, time_token, width, layers, heads, feedforward, dropout, max_tokens, norm_first,
            text_scale, patch, text_in_token,
        )  # fmt: skip
        check_plain_sizes(self.architecture, num_features=num_features, text_size=text_size, patch=patch)
        _check_form(self.architecture)
        self.input_process = nn.ModuleDict({"poseEmbedding": nn.Linear(patch * num_features, width)})
        self.output_process = nn.ModuleDict({"poseFinal": nn.Linear(width, patch * num_features)})
        self.embed_timestep = nn.ModuleDict({"time_embed": _time_network(width)})
        self.embed_text = nn.Linear(text_size, width)
        stack = _Layers(self.architecture)
        self.seqTransEncoder = stack if kind == "encoder" else None
        self.seqTransDecoder = stack if kind == "decoder" else None
        self.positions: Tensor
        self.register_buffer("positions", position_table(max_tokens, width), persistent=False)

    def forward(
        self,
        motion: Tensor,
        t: Tensor,
        text: Tensor | TextFeatures,
        lengths: Tensor,
        unconditional: Tensor | None = None,
    ) -> Tensor:
        """Predict from noisy motions.

        Args:
            motion: [B, T, D].
            t: [B] the scheduler's integer timesteps (diffusers' indices), or one for all.
            text: what the form reads: the features of B captions, or sentence embeddings [B, S] alone.
            lengths: [B] frames; read only with `mask_frames`.
            unconditional: [B] true where the text is to be left out; None is nowhere.

        Returns:
            [B, T, D]; what lies beyond a length means nothing.

        Raises:
            FeatureSpecError: motions or texts of another size, or motions too long for the position table.
        """
        self._check(motion, lengths)
        time = self.embed_timestep["time_embed"](self.positions[t.reshape(-1).expand(len(motion))])[None]
        embedded, text_padding = self._embed_text(text, len(motion), unconditional)
        memory = time + embedded
        tokens, valid = self._tokens(motion, lengths)
        frames = self.input_process["poseEmbedding"](tokens)
        first = self._first(time, memory)
        sequence, leading = torch.cat((first, frames)) + self.positions[: len(first) + len(frames), None], len(first)
        sequence = F.dropout(sequence, self.architecture.dropout, self.training)
        padding = ~valid_mask(valid + leading, len(sequence)) if self.architecture.mask_frames else None
        if self.seqTransEncoder is not None:
            sequence = self.seqTransEncoder(sequence, padding)
        elif self.seqTransDecoder is not None:
            sequence = self.seqTransDecoder(sequence, padding, memory, text_padding)
        result: Tensor = self.output_process["poseFinal"](sequence[leading:]).transpose(0, 1)
        return result.reshape(len(motion), -1, self.num_features)[:, : motion.shape[1]]

    def _first(self, time: Tensor, memory: Tensor) -> Tensor:
        """The tokens before the frames, one or none: [1, B, width] or [0, B, width]."""
        with_text = self.seqTransEncoder is not None or self.architecture.text_in_token
        return memory if with_text else time[: int(self.architecture.time_token)]

    def _tokens(self, motion: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The frames as tokens, sequence-first, and how many of them are valid [B]."""
        patch = self.architecture.patch
        return (motion.transpose(0, 1), lengths) if patch == 1 else group_frames(motion, lengths, patch)

    def _check(self, motion: Tensor, lengths: Tensor) -> None:
        check_motion(motion, lengths, self.num_features)
        if motion.shape[1] >= len(self.positions):
            raise FeatureSpecError(
                f"a motion of {motion.shape[1]} frames exceeds the position table's {len(self.positions) - 1}: "
                "shorten the motions, or build the model with larger max_tokens"
            )

    def _embed_text(
        self, text: Tensor | TextFeatures, batch: int, unconditional: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The text's tokens [L, B, width], L = 1 for a sentence, and their padding [B, L], None for a sentence."""
        padding = None
        if self.architecture.text == "sentence":
            values = (text.sentence if isinstance(text, TextFeatures) else text)[:, None]
        elif isinstance(text, TextFeatures):
            values, padding = text.tokens, ~valid_mask(text.lengths, text.tokens.shape[1])
        else:
            raise FeatureSpecError("this form of the network reads the tokens of a text: give its TextFeatures")
        if values.dim() != 3 or len(values) != batch or values.shape[2] != self.text_size:
            raise FeatureSpecError(
                f"text has shape {tuple(values.shape)}, the model expects [{batch}, L, {self.text_size}]: "
                "use the text encoder it was trained with"
            )
        if unconditional is not None:
            values = values.masked_fill(unconditional[:, None, None], 0.0)
        return self.embed_text(self.architecture.text_scale * values).transpose(0, 1), padding


class _Layers(nn.Module):
    """Transformer layers, one after another; sequence-first, as everything in `blocks`."""

    def __init__(self, sizes: MotionDenoiserArchitecture) -> None:
        super().__init__()
        make = nn.TransformerEncoderLayer if sizes.kind == "encoder" else nn.TransformerDecoderLayer
        self.layers = nn.ModuleList(
            make(sizes.width, sizes.heads, sizes.feedforward, sizes.dropout, F.gelu, norm_first=sizes.norm_first)
            for _ in range(sizes.layers)
        )
        self.norm_first = sizes.norm_first

    def forward(
        self, x: Tensor, padding: Tensor | None, memory: Tensor | None = None, memory_padding: Tensor | None = None
    ) -> Tensor:
        """Transform x [S, B, width], which attends to `memory` [M, B, width] where that is given."""
        for layer in self.layers:
            if memory is None:
                x = layer(x, src_key_padding_mask=padding)
            else:
                x = layer(x, memory, tgt_key_padding_mask=padding, memory_key_padding_mask=memory_padding)
        return F.layer_norm(x, x.shape[-1:]) if self.norm_first else x


def _time_network(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))


def _check_form(sizes: MotionDenoiserArchitecture) -> None:
    for name, allowed in (("kind", MotionDenoiserKind), ("text", TextKind)):
        if getattr(sizes, name) not in get_args(allowed):
            raise ConfigError(f"{name}={getattr(sizes, name)!r}: must be one of {', '.join(get_args(allowed))}")
    if sizes.patch > 1 and not sizes.mask_frames:
        raise ConfigError(f"patch={sizes.patch} needs mask_frames=True: a patch reads no padded frames")
    if sizes.kind == "encoder" and sizes.text == "tokens":
        raise ConfigError("text='tokens' needs kind='decoder': an encoder has one token for the whole text")
    if sizes.kind == "encoder" and sizes.time_token:
        raise ConfigError("time_token=True needs kind='decoder': an encoder's first token holds time and text already")
    if sizes.text_in_token and not (sizes.time_token and sizes.text == "sentence"):
        raise ConfigError("text_in_token=True needs time_token=True and text='sentence': one token takes one text")
