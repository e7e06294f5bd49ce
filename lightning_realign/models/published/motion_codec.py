"""The convolutional motion autoencoder that MoMask and MARDM share: T frames to T / 4 codes and back.

Networks and parameters have the names of github.com/EricGuo5513/momask-codes (Guo et al., arXiv 2312.00063), taken over
by github.com/neu-vi/MARDM (Meng et al., arXiv 2411.16575).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_realign.errors import ConfigError


@dataclass(frozen=True)
class CodecArchitecture:
    """Sizes of encoder and decoder; the defaults are the published ones.

    Attributes:
        code_size: channels of a code.
        width: channels inside.
        depth: residual blocks at each resolution.
        halvings: how often the encoder halves the number of frames.
        dilation_growth: ratio of the dilations of neighbouring residual blocks.

    Raises:
        ConfigError: a size below 1.
    """

    code_size: int = 512
    width: int = 512
    depth: int = 3
    halvings: int = 2
    dilation_growth: int = 3

    def __post_init__(self) -> None:
        for name in ("code_size", "width", "depth", "halvings", "dilation_growth"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 1")

    @property
    def frames_per_code(self) -> int:
        """Frames that one code stands for."""
        return int(2**self.halvings)


class _ResidualBlock(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.conv2 = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Add to x [B, width, T] what two convolutions make of it."""
        result: Tensor = x + self.conv2(self.conv1(x.relu()).relu())
        return result


class _ResidualStack(nn.Module):
    """Residual blocks, the widest dilation first."""

    def __init__(self, sizes: CodecArchitecture) -> None:
        super().__init__()
        dilations = (sizes.dilation_growth**place for place in reversed(range(sizes.depth)))
        self.model = nn.Sequential(*(_ResidualBlock(sizes.width, dilation) for dilation in dilations))

    def forward(self, x: Tensor) -> Tensor:
        """Transform x [B, width, T]."""
        result: Tensor = self.model(x)
        return result


class MotionEncoder(nn.Module):
    """Motions to codes.

    Args:
        num_features: D.
        sizes: of the networks.
    """

    def __init__(self, num_features: int, sizes: CodecArchitecture) -> None:
        super().__init__()
        width = sizes.width
        halving = (
            nn.Sequential(nn.Conv1d(width, width, 4, stride=2, padding=1), _ResidualStack(sizes))
            for _ in range(sizes.halvings)
        )
        first, last = nn.Conv1d(num_features, width, 3, padding=1), nn.Conv1d(width, sizes.code_size, 3, padding=1)
        self.model = nn.Sequential(first, nn.ReLU(), *halving, last)

    def forward(self, motion: Tensor) -> Tensor:
        """Codes [B, T / 4, code_size] of motions [B, T, D]."""
        codes: Tensor = self.model(motion.transpose(1, 2)).transpose(1, 2)
        return codes


class MotionDecoder(nn.Module):
    """Codes to motions.

    Args:
        num_features: D.
        sizes: of the networks.
    """

    def __init__(self, num_features: int, sizes: CodecArchitecture) -> None:
        super().__init__()
        width = sizes.width
        doubling = (
            nn.Sequential(_ResidualStack(sizes), nn.Upsample(scale_factor=2), nn.Conv1d(width, width, 3, padding=1))
            for _ in range(sizes.halvings)
        )
        self.model = nn.Sequential(
            nn.Conv1d(sizes.code_size, width, 3, padding=1),
            nn.ReLU(),
            *doubling,
            nn.Conv1d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(width, num_features, 3, padding=1),
        )

    def forward(self, codes: Tensor) -> Tensor:
        """Motions [B, 4 n, D] of codes [B, n, code_size]."""
        motion: Tensor = self.model(codes.transpose(1, 2)).transpose(1, 2)
        return motion


def code_lengths(lengths: Tensor, frames_per_code: int) -> Tensor:
    """How many codes [B] motions of `lengths` [B] frames have; the last may reach beyond a motion's end."""
    return (lengths + frames_per_code - 1) // frames_per_code


def encode_motions(encoder: nn.Module, motion: Tensor, lengths: Tensor, frames_per_code: int) -> Tensor:
    """Codes [B, n, C] of motions [B, T, D], each encoded as if alone, zero beyond its own codes.

    The convolutions would carry a batch's padding into a motion's end. A motion whose length is no multiple of a
    code's frames is continued by its last frame.
    """
    codes: dict[int, Tensor] = {}
    for length in sorted(set(lengths.tolist())):
        rows = (lengths == length).nonzero()[:, 0].to(motion.device)
        frames = torch.arange(-(-length // frames_per_code) * frames_per_code, device=motion.device)
        codes.update(zip(rows.tolist(), encoder(motion[rows][:, frames.clamp_max(length - 1)]), strict=True))
    return _stacked(codes)


def decode_codes(decoder: nn.Module, codes: Tensor, counts: Tensor) -> Tensor:
    """Motions [B, T, D] of codes [B, n, C], each decoded as if alone, zero beyond its own codes; differentiable.

    The convolutions would carry a batch's padding into a motion's end.

    Args:
        decoder: [B, n, C] -> [B, T, D].
        codes: of the motions.
        counts: [B] how many of them are a motion's own.
    """
    motions: dict[int, Tensor] = {}
    for count in sorted(set(counts.tolist())):
        rows = (counts == count).nonzero()[:, 0].to(codes.device)
        motions.update(zip(rows.tolist(), decoder(codes[rows, :count]), strict=True))
    return _stacked(motions)


def _stacked(rows: dict[int, Tensor]) -> Tensor:
    """Rows [T_i, D] as one tensor [B, T, D], zero beyond each."""
    return nn.utils.rnn.pad_sequence([rows[row] for row in range(len(rows))], batch_first=True)
