"""Retrieval of x^c, the training motion that the reward ranks highest for a text (eq. 9 of arXiv 2511.19217).

x^c enters the dual reward through its clean embedding m_phi(x^c, 0) alone, so the index keeps the embeddings of the
whole training split and no motion. It depends on the reward's weights and on the data set, and is cached under both.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sized
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from lightning_realign.checkpoints.reward import RewardBundle
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.files.atomic import save_bytes_atomic
from lightning_realign.files.cache import cache_folder
from lightning_realign.files.hashing import weights_fingerprint
from lightning_realign.types import MotionTextBatch

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Matches:
    """The best training motion of B texts.

    latents: [B, W] the embeddings m_phi(x^c, 0). ids: B ids of the training split. rewards: [B] R_phi(x^c, c) at t = 0.
    """

    latents: Tensor
    ids: tuple[str, ...]
    rewards: Tensor


@dataclass(frozen=True)
class RewardIndex:
    """Clean embeddings of a training split.

    latents: [N, W] float32, in the order of ids. ids: N distinct ids, sorted. fingerprint: of the reward that made
    them, see `reward_fingerprint`.
    """

    latents: Tensor
    ids: tuple[str, ...]
    fingerprint: str

    def __post_init__(self) -> None:
        if self.latents.ndim != 2 or len(self.ids) != self.latents.shape[0] or not self.ids:
            raise DataError(
                f"retrieval index: {len(self.ids)} ids for latents of shape {tuple(self.latents.shape)}; "
                "give one row of features for each id, and at least one"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def query(self, text: Tensor) -> Matches:
        """Find x^c = argmax over the training split of R_phi(x, c) at t = 0.

        Args:
            text: [B, W] text embeddings t_phi(c).

        Returns:
            The winners, on the device of `text`. Among equal rewards the smallest id wins.
        """
        gallery = self.latents.to(device=text.device, dtype=text.dtype)
        best, rows = (normalize(text, dim=-1) @ normalize(gallery, dim=-1).T).max(dim=1)
        return Matches(gallery[rows], tuple(self.ids[row] for row in rows.tolist()), best)

    def save(self, path: Path) -> None:
        """Write the index as safetensors, atomically."""
        metadata = {"ids": json.dumps(self.ids), "fingerprint": self.fingerprint}
        save_bytes_atomic(path, save({"latents": self.latents.contiguous().cpu()}, metadata=metadata))

    @classmethod
    def load(cls, path: Path, fingerprint: str) -> RewardIndex:
        """Read an index.

        Args:
            path: a file that `save` wrote.
            fingerprint: of the reward that will use it.

        Raises:
            DataError: the file is missing or not an index.
            ConfigError: another reward made it.
        """
        if not path.is_file():
            raise DataError(f"{path}: no such retrieval index; run guided predict or test with eta once to make it")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                latents: Tensor = file.get_tensor("latents")
            ids = tuple(json.loads(metadata["ids"]))
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise DataError(f"{path}: not a retrieval index ({error}); delete it, it is made again") from error
        if metadata.get("fingerprint") != fingerprint:
            raise ConfigError(
                f"{path}: index of reward {metadata.get('fingerprint')}, but the reward is {fingerprint}; "
                "give the index that was made with this reward"
            )
        return cls(latents, ids, fingerprint)


def reward_fingerprint(bundle: RewardBundle) -> str:
    """A short hash of the reward's architecture, space, weights and statistics: what its embeddings depend on."""
    about = {**asdict(bundle.network.architecture), "space": bundle.space.name}
    return weights_fingerprint(bundle.modules, json.dumps(about, sort_keys=True))


def index_path(fingerprint: str, datamodule: Any, folder: Path | str | None = None) -> Path:
    """The cache file of an index, named by the reward's fingerprint and the data set's."""
    name = f"{datamodule.skeleton.name}-{fingerprint}-{datamodule.fingerprint}.safetensors"
    return cache_folder("index", folder) / name


def find_index(fingerprint: str, folder: Path | str | None = None) -> Path:
    """The one cached index that a reward made.

    Args:
        fingerprint: of the reward.
        folder: cache folder, see `cache_folder`.

    Raises:
        ConfigError: there is none, or one for each of several data sets.
    """
    searched = cache_folder("index", folder)
    found = sorted(searched.glob(f"*-{fingerprint}-*.safetensors"))
    if not found:
        raise ConfigError(
            f"{searched}: no index of reward {fingerprint}, from whose training set eta retrieves motions; run guided "
            "predict or test with eta once to make it, give the index's file, or set eta to 0"
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ConfigError(f"{searched}: reward {fingerprint} has an index of several data sets ({names}); give one")
    return found[0]


@torch.no_grad()
def build_index(
    bundle: RewardBundle, batches: Iterable[MotionTextBatch], device: torch.device | str = "cpu", progress: bool = True
) -> RewardIndex:
    """Embed every motion of a training split, clean (t = 0).

    Args:
        bundle: the reward model; it must already be on `device`.
        batches: the split, every id once (a repeated id is kept once).
        device: where to compute.
        progress: show a progress bar.

    Raises:
        DataError: the split is empty.
    """
    rows: dict[str, Tensor] = {}
    total = len(batches) if isinstance(batches, Sized) else None
    for batch in tqdm(batches, desc="retrieval index", total=total, disable=not progress, leave=False):
        batch = batch.to(device)
        latents = bundle.embed(batch.motion, batch.lengths).float().cpu()
        rows.update((sample, row.clone()) for sample, row in zip(batch.ids, latents, strict=True))
    if not rows:
        raise DataError("retrieval index: the training split yields no motion; check train.txt and the length limits")
    ids = tuple(sorted(rows))
    return RewardIndex(torch.stack([rows[sample] for sample in ids]), ids, reward_fingerprint(bundle))


def load_or_build_index(
    bundle: RewardBundle,
    datamodule: Any,
    folder: Path | str | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> RewardIndex:
    """The index of a data module's training split, from the cache when it is there and sound.

    Args:
        bundle: the reward model, already on `device`.
        datamodule: offers `fingerprint` and `gallery_dataloader()`.
        folder: cache folder, see `cache_folder`.
        device: where to compute a missing index.
        progress: show a progress bar.
    """
    fingerprint = reward_fingerprint(bundle)
    path = index_path(fingerprint, datamodule, folder)
    if path.is_file():
        try:
            return RewardIndex.load(path, fingerprint)
        except DataError as error:
            _log.warning("%s", error)
    index = build_index(bundle, datamodule.gallery_dataloader(), device, progress)
    index.save(path)
    _log.info("retrieval index of %d motions written to %s", len(index), path)
    return index
