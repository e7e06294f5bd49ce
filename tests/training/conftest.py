"""A tiny data set whose captions are already in a text cache, so that no encoder is ever loaded."""

import hashlib
from pathlib import Path

import pytest
import torch

from lightning_realign.data import HumanML3DDataModule
from lightning_realign.text import CachedTextEncoder, EncodedCaption
from tests.helpers.support import write_tiny_dataset
from tests.helpers.training_runs import trainer, vae_module

ENCODER = "all-MiniLM-L6-v2"


class HashEncoder:
    """Random features of a caption, seeded by its text."""

    def __init__(self, name):
        self.name = name

    def encode(self, captions):
        return [self._encode(caption) for caption in captions]

    def _encode(self, caption):
        seed = int.from_bytes(hashlib.sha256(caption.encode()).digest()[:6], "big")
        random = torch.Generator().manual_seed(seed)
        sentence = torch.nn.functional.normalize(torch.randn(384, generator=random), dim=0)
        return EncodedCaption(torch.randn(2 + len(caption.split()), 384, generator=random), sentence)


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory) -> Path:
    return write_tiny_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def text_cache(tiny_root, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("text")
    data = HumanML3DDataModule(tiny_root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_realign.text.cache.load_text_encoder", HashEncoder)
        captions = {caption for stage in ("fit", "test") for caption in data.captions(stage)}
        CachedTextEncoder(ENCODER, folder).prepare(["", *captions], progress=False)
    return str(folder)


@pytest.fixture(scope="session")
def vae_path(tmp_path_factory, tiny_root) -> str:
    """A checkpoint of a VAE trained for a few steps."""
    folder = tmp_path_factory.mktemp("vae")
    fitted = trainer(folder, max_epochs=3, limit_val_batches=0)
    fitted.fit(vae_module(), datamodule=HumanML3DDataModule(tiny_root, batch_size=8))
    fitted.save_checkpoint(folder / "vae.ckpt")
    return str(folder / "vae.ckpt")


@pytest.fixture
def tiny_data(tiny_root):
    """Makes data modules of the tiny data set."""

    def make(batch_size=8, **settings):
        return HumanML3DDataModule(tiny_root, batch_size=batch_size, **settings)

    return make
