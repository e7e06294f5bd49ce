"""MoMask's two transformers over motion tokens (Guo et al., arXiv 2312.00063; github.com/EricGuo5513/momask-codes).

Sequence-first inside, which also keeps PyTorch from its fused inference kernels. Text is the sentence embedding of a
caption; a vector of zeros stands for no text.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.models.blocks import position_table
from lightning_realign.types import valid_mask


@dataclass(frozen=True)
class TokenTransformerArchitecture:
    """Sizes of MoMask's transformers; the defaults are the published ones.

    Attributes:
        width: channels of a token.
        layers, heads, feedforward: of the transformer; the heads divide the width.
        dropout: while training.
        text_size: channels of a caption's embedding.
        max_tokens: rows of the position table.

    Raises:
        ConfigError: sizes that contradict each other.
    """

    width: int = 384
    layers: int = 8
    heads: int = 6
    feedforward: int = 1024
    dropout: float = 0.2
    text_size: int = 512
    max_tokens: int = 5000

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "feedforward", "text_size", "max_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 1")
        if self.width % 2 or self.width % self.heads:
            raise ConfigError(f"width={self.width}: must be even and a multiple of heads={self.heads}")


class CodeInput(nn.Module):
    """Codes to the transformer's width."""

    def __init__(self, code_size: int, width: int) -> None:
        super().__init__()
        self.poseEmbedding = nn.Linear(code_size, width)

    def forward(self, codes: Tensor) -> Tensor:
        """[..., code_size] to [..., width]."""
        result: Tensor = self.poseEmbedding(codes)
        return result


class TablePositions(nn.Module):
    """The sinusoid table `pe` [max_tokens, 1, width], which public files hold."""

    pe: Tensor

    def __init__(self, max_tokens: int, width: int) -> None:
        super().__init__()
        self.register_buffer("pe", position_table(max_tokens, width)[:, None])

    def forward(self, x: Tensor) -> Tensor:
        """Add the positions to x [n, B, width].

        Raises:
            FeatureSpecError: more tokens than the table has.
        """
        if len(x) > len(self.pe):
            raise FeatureSpecError(f"a motion of {len(x)} tokens exceeds the table's {len(self.pe)}; ask for less")
        return x + self.pe[: len(x)]


class _Output(nn.Module):
    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)
        self.poseFinal = nn.Linear(width, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] to [..., channels]."""
        result: Tensor = self.poseFinal(self.LayerNorm(F.gelu(self.dense(x))))
        return result


class _TokenTransformer(nn.Module):
    """What both transformers share: codes, with tokens of their own in front, through an encoder."""

    def __init__(self, code_size: int, channels: int, sizes: TokenTransformerArchitecture) -> None:
        super().__init__()
        self.sizes = sizes
        self.input_process = CodeInput(code_size, sizes.width)
        self.position_enc = TablePositions(sizes.max_tokens, sizes.width)
        layer = nn.TransformerEncoderLayer(
            sizes.width, sizes.heads, sizes.feedforward, sizes.dropout, activation="gelu"
        )
        self.seqTransEncoder = nn.TransformerEncoder(layer, sizes.layers, enable_nested_tensor=False)
        self.cond_emb = nn.Linear(sizes.text_size, sizes.width)
        self.output_process = _Output(sizes.width, channels)

    def _attend(self, codes: Tensor, front: list[Tensor], lengths: Tensor) -> Tensor:
        """Outputs [B, n, channels] of codes [B, n, C] after tokens [B, width].

        Only the first `lengths` [B] codes are attended to.
        """
        x = self.position_enc(self.input_process(codes.transpose(0, 1)))
        padding = ~valid_mask(lengths + len(front), len(front) + len(x))
        x = self.seqTransEncoder(torch.cat((torch.stack(front), x)), src_key_padding_mask=padding)
        result: Tensor = self.output_process(x[len(front) :]).transpose(0, 1)
        return result


class MaskedTransformer(_TokenTransformer):
    """Predicts the masked tokens of the first codebook.

    Args:
        tokens: entries of the codebook.
        code_size: channels of a token's embedding.
        sizes: of the network.

    Attributes:
        mask, pad: the tokens that stand for a masked token, and for none.
    """

    def __init__(self, tokens: int, code_size: int, sizes: TokenTransformerArchitecture | None = None) -> None:
        super().__init__(code_size, tokens, sizes if sizes is not None else TokenTransformerArchitecture())
        self.mask, self.pad = tokens, tokens + 1
        self.token_emb = nn.Embedding(tokens + 2, code_size)

    def forward(self, tokens: Tensor, text: Tensor, lengths: Tensor) -> Tensor:
        """Logits [B, n, tokens] of tokens [B, n] for text [B, E]; `lengths` [B] of the tokens are a motion's own."""
        return self._attend(self.token_emb(tokens), [self.cond_emb(text)], lengths)


class ResidualTransformer(_TokenTransformer):
    """Predicts the tokens of one codebook from the tokens of the codebooks before it.

    The embedding of a codebook's tokens is also what the logits of that codebook are read off with; the first codebook
    is never predicted here, and the last never read.

    Args:
        quantizers: Q, codebooks; at least 2.
        tokens: entries of a codebook.
        code_size: channels of a token's embedding.
        sizes: of the network.

    Attributes:
        pad: the token that stands for none.

    Raises:
        ConfigError: fewer than 2 codebooks.
    """

    def __init__(
        self, quantizers: int, tokens: int, code_size: int, sizes: TokenTransformerArchitecture | None = None
    ) -> None:
        super().__init__(code_size, code_size, sizes if sizes is not None else TokenTransformerArchitecture())
        if quantizers < 2:
            raise ConfigError(f"quantizers={quantizers}: a residual transformer needs at least 2")
        self.quantizers, self.pad = quantizers, tokens
        self.quant_emb = nn.Linear(quantizers, self.sizes.width)
        self.token_embed_weight_ = nn.Parameter(0.02 * torch.randn(1, tokens + 1, code_size))
        self.embed_proj_shared_weight = nn.Parameter(0.02 * torch.randn(quantizers - 2, tokens + 1, code_size))
        self.output_proj_weight_ = nn.Parameter(0.02 * torch.randn(1, tokens + 1, code_size))

    def embed(self, tokens: Tensor, layer: int) -> Tensor:
        """Embeddings [B, n, code_size] of the tokens [B, n] of codebook `layer`, 0 to Q - 2."""
        return F.embedding(tokens, torch.cat((self.token_embed_weight_, self.embed_proj_shared_weight))[layer])

    def forward(self, layer: int, history: Tensor, text: Tensor, lengths: Tensor) -> Tensor:
        """Logits [B, n, tokens + 1] of codebook `layer`, 1 to Q - 1.

        Args:
            layer: the codebook.
            history: [B, n, code_size] sum of the embeddings of all codebooks before it.
            text: [B, E].
            lengths: [B] how many tokens are a motion's own.
        """
        chosen = F.one_hot(torch.full((len(history),), layer, device=history.device), self.quantizers)
        front = [self.cond_emb(text), self.quant_emb(chosen.to(history.dtype))]
        projection = torch.cat((self.embed_proj_shared_weight, self.output_proj_weight_))[layer - 1]
        return self._attend(history, front, lengths) @ projection.T
