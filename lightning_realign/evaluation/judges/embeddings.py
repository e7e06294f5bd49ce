"""Where the embeddings of a retrieval system come from: an evaluator, or a file that was made elsewhere."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_realign.errors import ConfigError, DataError
from lightning_realign.evaluation.judges import Evaluator
from lightning_realign.evaluation.judges.panel import load_judge
from lightning_realign.metrics.protocols import SIMILARITIES, Similarity
from lightning_realign.motion import Skeleton
from lightning_realign.settings.sources import JudgeSource
from lightning_realign.types import MotionTextBatch

Kind = Literal["guo", "guo_published", "tmr", "tmr_published", "realign_published", "embeddings"]
ARRAYS = ("ids", "text", "motion")


class EmbeddingSource(Protocol):
    """What embeds the pairs of a data set. A pair's embeddings never depend on the rest of the batch."""

    @property
    def similarity(self) -> Similarity:
        """What ranks its embeddings."""

    def prepare(self, ids: Sequence[str], tokens: Mapping[str, Sequence[str]]) -> None:
        """Get ready for these samples, and for captions: their texts, and the `word/POS` tokens of each."""

    def embed(self, batch: MotionTextBatch) -> tuple[Tensor, Tensor]:
        """Embeddings [B, W] of the batch's motions and of its captions."""


class EvaluatorSource:
    """An evaluator used as a retriever.

    The architecture of Guo et al. (CVPR 2022) is trained by Euclidean distances and ranks by them. TMR and ReAlign rank
    by the cosine of the latents' means.

    Args:
        evaluator: the model.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._texts: dict[str, Tensor] = {}
        self.similarity: Similarity = "euclidean" if evaluator.architecture == "guo" else "cosine"

    def prepare(self, ids: Sequence[str], tokens: Mapping[str, Sequence[str]]) -> None:
        """Encode captions into the cache of text features, or learn their tokens."""
        self._evaluator.prepare(tokens)

    def embed(self, batch: MotionTextBatch) -> tuple[Tensor, Tensor]:
        """Embeddings [B, W] of motions and captions."""
        return self._evaluator.embed_motion(batch.motion, batch.lengths), torch.stack(
            [self._text(caption) for caption in batch.captions]
        )

    def _text(self, caption: str) -> Tensor:
        """The embedding [W] of a caption.

        Each text is embedded once and alone: in a batch its padding would change the last digits, and samples of the
        same caption, which tie, would be ranked by rounding errors.
        """
        if caption not in self._texts:
            self._texts[caption] = self._evaluator.embed_text([caption])[0]
        return self._texts[caption]


class ExportedEmbeddings:
    """Embeddings from a `.npz` file: `ids` [N] strings, `text` [N, W] and `motion` [N, W] numbers.

    Args:
        path: the file.
        similarity: what ranks them: what the system's authors use.

    Raises:
        DataError: the file is missing, damaged or pickled, lacks an array, or has one of another shape or type, an id
            twice, or a value that is not finite.
    """

    def __init__(self, path: Path, similarity: Similarity) -> None:
        self.similarity = similarity
        self._path = path
        arrays = _read(path)
        ids, text, motion = (arrays[name] for name in ARRAYS)
        if ids.ndim != 1 or ids.dtype.kind != "U":
            raise DataError(f"{path}: array 'ids' is not one row of strings; write it with numpy.array(list of ids)")
        for name, values in (("text", text), ("motion", motion)):
            if values.dtype.kind not in "fiu" or values.ndim != 2 or len(values) != len(ids):
                raise DataError(
                    f"{path}: array {name!r} is {values.dtype} of shape {values.shape}; for {len(ids)} ids write "
                    f"numbers of shape ({len(ids)}, width)"
                )
            bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
            if len(bad):
                raise DataError(f"{path}: array {name!r} has NaN or infinity for {str(ids[bad[0]])!r}; export it again")
        if text.shape != motion.shape:
            raise DataError(
                f"{path}: text has width {text.shape[1]}, motion {motion.shape[1]}; export both in one space"
            )
        self._rows: dict[str, int] = {}
        for row, sample in enumerate(ids.tolist()):
            if self._rows.setdefault(sample, row) != row:
                raise DataError(f"{path}: id {sample!r} is there twice; export every sample once")
        self._text, self._motion = (torch.from_numpy(values.astype(np.float64)) for values in (text, motion))

    def prepare(self, ids: Sequence[str], tokens: Mapping[str, Sequence[str]]) -> None:
        """Make sure that the file has all samples.

        Raises:
            DataError: some are missing.
        """
        missing = [sample for sample in ids if sample not in self._rows]
        if missing:
            raise DataError(
                f"{self._path}: {len(missing)} of the {len(ids)} samples of the split are missing, {missing[0]!r} "
                "first; export the embeddings of all of them"
            )

    def embed(self, batch: MotionTextBatch) -> tuple[Tensor, Tensor]:
        """The rows [B, W] of the batch's ids."""
        rows = [self._rows[sample] for sample in batch.ids]
        return self._motion[rows], self._text[rows]


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            # A .npy file is an array, not an archive.
            missing = [name for name in ARRAYS if name not in getattr(archive, "files", ())]
            if not missing:
                return {name: archive[name] for name in ARRAYS}
    except FileNotFoundError:
        raise DataError(f"{path}: the embeddings are missing; give the .npz file of a system's embeddings") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise DataError(f"{path}: cannot be read ({reason}); write it again with numpy.savez") from None
    raise DataError(f"{path}: array {missing[0]!r} is missing; write {', '.join(ARRAYS)} with numpy.savez")


def load_source(
    judge: JudgeSource | None,
    path: str,
    metric: Similarity | None,
    skeleton: Skeleton,
    text_cache: str | None,
    device: torch.device | str,
) -> EmbeddingSource:
    """The source of a retrieval system.

    Args:
        judge: which evaluator embeds; None reads the embeddings from `path`.
        path: the evaluator's checkpoint, or the embeddings.
        metric: what ranks embeddings that were made elsewhere; an evaluator has its own.
        skeleton: of the motions.
        text_cache: folder of cached text features; None for the usual one.
        device: where the evaluator's weights go.

    Raises:
        ConfigError: options that the kind needs and that are missing, or has no use for.
        FeatureSpecError: the evaluator reads motions of another skeleton.
        CheckpointError: a checkpoint that cannot be used.
        DataError: embeddings, statistics or word vectors that cannot be used.
    """
    if judge is None:
        if metric is None or metric not in SIMILARITIES:
            raise ConfigError(
                f"RetrievalSystem.metric is {metric}; for kind embeddings choose {' or '.join(SIMILARITIES)}"
            )
        return ExportedEmbeddings(Path(path), metric)
    if metric is not None:
        raise ConfigError(
            f"RetrievalSystem.metric is {metric}, but kind {judge.kind} has a metric of its own; leave it out"
        )
    return EvaluatorSource(load_judge(judge, skeleton, text_cache, device))
