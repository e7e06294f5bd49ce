"""The text-motion evaluator of Guo et al. (CVPR 2022): both sides as points of one space, near where they match.

The modules carry the names of the published checkpoints (`text_mot_match/model/finest.tar` of
github.com/EricGuo5513/text-to-motion), so that those load strictly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.types import zero_padding

# Two halvings of time: a snippet of movement stands for this many frames.
UNIT = 4
# The last features of a frame are foot contacts, which the evaluator does not see.
CONTACTS = 4
NUM_TAGS = 15
SLOPE = 0.2


@dataclass(frozen=True)
class EvaluatorArchitecture:
    """Constructor arguments of `MotionTextEvaluator` apart from the data's sizes; the defaults are as published."""

    word_size: int = 300
    movement_hidden: int = 512
    movement_size: int = 512
    motion_hidden: int = 1024
    text_hidden: int = 512
    embedding: int = 512
    dropout: float = 0.2
    max_frames: int = 196


class MovementEncoder(nn.Module):
    """Normalised frames [B, T, C] to snippets [B, T // 4, movement_size] by two strided convolutions."""

    def __init__(self, channels: int, hidden: int, size: int, dropout: float) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv1d(channels, hidden, 4, stride=2, padding=1),
            nn.Dropout(dropout),
            nn.LeakyReLU(SLOPE),
            nn.Conv1d(hidden, size, 4, stride=2, padding=1),
            nn.Dropout(dropout),
            nn.LeakyReLU(SLOPE),
        )
        self.out_net = nn.Linear(size, size)
        self.apply(_start)

    def forward(self, frames: Tensor) -> Tensor:
        """Encode [B, T, C]."""
        snippets: Tensor = self.out_net(self.main(frames.transpose(1, 2)).transpose(1, 2))
        return snippets


class SequenceEncoder(nn.Module):
    """A sequence [B, L, C] as one embedding [B, W], by a bidirectional GRU with a learned start."""

    def __init__(self, channels: int, hidden: int, embedding: int) -> None:
        super().__init__()
        self.hidden = nn.Parameter(torch.randn(2, 1, hidden))
        self.input_emb = nn.Linear(channels, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True, bidirectional=True)
        self.output_net = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.LayerNorm(hidden), nn.LeakyReLU(SLOPE), nn.Linear(hidden, embedding)
        )
        self.input_emb.apply(_start)
        self.output_net.apply(_start)

    def forward(self, sequence: Tensor, lengths: Tensor) -> Tensor:
        """Encode sequences of `lengths` [B], at least 1, in any order; what lies beyond is never read."""
        embedded = self.input_emb(sequence)
        # Unsorted lengths are sorted inside, and the final states come back in the order that was given.
        packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, last = self.gru(packed, self.hidden.to(embedded.dtype).repeat(1, len(sequence), 1))
        result: Tensor = self.output_net(torch.cat((last[0], last[1]), dim=-1))
        return result


class CaptionEncoder(SequenceEncoder):
    """Words with their parts of speech as one embedding."""

    def __init__(self, word_size: int, hidden: int, embedding: int) -> None:
        super().__init__(word_size, hidden, embedding)
        self.pos_emb = nn.Linear(NUM_TAGS, word_size)
        self.pos_emb.apply(_start)

    def encode(self, vectors: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """Encode word vectors [B, L, E] with tags [B, L] (indices of the parts of speech) of `lengths` [B] words."""
        spoken = F.one_hot(tags, NUM_TAGS).to(vectors.dtype)
        return self.forward(vectors + self.pos_emb(spoken), lengths)


class MotionTextEvaluator(nn.Module):
    """Embeds motions and captions in one space.

    Published: convolution, motion GRU and text GRU, under the names `movement_encoder`, `motion_encoder` and
    `text_encoder`. `words` is the table of word vectors beside them.

    Args:
        num_features: D, features of a frame, contacts included.
        vocabulary_size: V, words that have vectors.
        word_size: channels of a word vector.
        movement_hidden: channels between the two convolutions.
        movement_size: channels of a snippet.
        motion_hidden: channels of the motion GRU, per direction.
        text_hidden: channels of the text GRU, per direction.
        embedding: W, channels of an embedding.
        dropout: of the convolutions, while training.
        max_frames: the longest motion; the published evaluators read no more than 196 frames.

    Raises:
        ConfigError: sizes that no network can be built from.
    """

    def __init__(
        self,
        num_features: int,
        vocabulary_size: int,
        *,
        word_size: int = 300,
        movement_hidden: int = 512,
        movement_size: int = 512,
        motion_hidden: int = 1024,
        text_hidden: int = 512,
        embedding: int = 512,
        dropout: float = 0.2,
        max_frames: int = 196,
    ) -> None:
        super().__init__()
        self.num_features, self.max_frames = num_features, max_frames
        self.architecture = EvaluatorArchitecture(
            word_size, movement_hidden, movement_size, motion_hidden, text_hidden, embedding, dropout, max_frames
        )
        self._check(num_features, vocabulary_size)
        self.movement_encoder = MovementEncoder(num_features - CONTACTS, movement_hidden, movement_size, dropout)
        self.motion_encoder = SequenceEncoder(movement_size, motion_hidden, embedding)
        self.text_encoder = CaptionEncoder(word_size, text_hidden, embedding)
        self.words = nn.Embedding(vocabulary_size, word_size)

    def embed_motion(self, motion: Tensor, lengths: Tensor) -> Tensor:
        """Embeddings [B, W] of motions.

        A motion of L frames counts L // 4 snippets. The last of them reads up to 3 frames further, which are zero
        beyond the motion, as in the published padding to 196 frames: less padding gives the same figures as long as
        one more snippet is there.

        Args:
            motion: [B, T, D] normalised features; what lies beyond `lengths` is ignored.
            lengths: [B] frames, from 4 to `max_frames`.

        Raises:
            FeatureSpecError: another feature size, or a motion that is too short or too long.
        """
        if motion.dim() != 3 or motion.shape[2] != self.num_features:
            raise FeatureSpecError(
                f"motions have shape {tuple(motion.shape)}, the evaluator reads [B, T, {self.num_features}]: use the "
                "evaluator of their skeleton"
            )
        shortest, longest = int(lengths.min()), int(lengths.max())
        if shortest < UNIT or longest > min(self.max_frames, motion.shape[1]):
            raise FeatureSpecError(
                f"motions have {shortest} to {longest} frames in a batch of {motion.shape[1]}; the evaluator reads "
                f"{UNIT} to {self.max_frames}: leave shorter ones out and crop longer ones"
            )
        size = min(longest // UNIT * UNIT + UNIT, self.max_frames)
        frames = zero_padding(motion[..., :-CONTACTS], lengths)
        frames = F.pad(frames, (0, 0, 0, max(0, size - frames.shape[1])))[:, :size]
        embeddings: Tensor = self.motion_encoder(self.movement_encoder(frames), lengths // UNIT)
        return embeddings

    def embed_text(self, words: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """Embeddings [B, W] of captions: rows of the word table [B, L], tags [B, L], and the number of words [B]."""
        return self.text_encoder.encode(self.words(words), tags, lengths)

    def _check(self, num_features: int, vocabulary_size: int) -> None:
        least = {"num_features": CONTACTS + 1, "vocabulary_size": 1, "max_frames": UNIT}
        sizes = {**vars(self.architecture), "num_features": num_features, "vocabulary_size": vocabulary_size}
        for name, value in sizes.items():
            if name != "dropout" and value < least.get(name, 1):
                raise ConfigError(f"the evaluator's {name} is {value}; set it to {least.get(name, 1)} or more")
        if not 0 <= self.architecture.dropout < 1:
            raise ConfigError(f"the evaluator's dropout is {self.architecture.dropout}; set it from 0 to below 1")


def _start(module: nn.Module) -> None:
    """The published start: normal weights after Glorot and Bengio, no bias."""
    if isinstance(module, nn.Conv1d | nn.Linear):
        nn.init.xavier_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
