"""The start from principal components: it whitens, it restores, and it begins as a linear autoencoder."""

import pytest
import torch

from lightning_realign.errors import DataError
from lightning_realign.models import MotionVAE
from lightning_realign.models.blocks import group_frames
from lightning_realign.training import principal
from lightning_realign.training.principal import principal_components, start_as_identity, start_from_components
from tests.helpers.training_runs import trainer, vae_module

FEATURES, PATCH, RANK = 6, 4, 5


def batches(seed: int = 0):
    """Motions whose patches span RANK directions around an offset, in two batches with padding."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(RANK, PATCH * FEATURES, generator=generator, dtype=torch.float64)
    for size in (40, 60):
        codes = torch.randn(size, 5, RANK, generator=generator, dtype=torch.float64)
        motion = (codes @ directions + 0.7).reshape(size, 5 * PATCH, FEATURES)
        lengths = torch.randint(PATCH, 5 * PATCH + 1, (size,), generator=generator)
        # What lies beyond a motion's length must not enter the statistics.
        beyond = torch.arange(5 * PATCH)[None, :] >= lengths[:, None]
        yield motion.masked_fill(beyond[..., None], 1e6), lengths


def whole_patches(seed: int = 0) -> torch.Tensor:
    rows = [
        patch
        for motion, lengths in batches(seed)
        for clip, length in zip(motion, lengths.tolist(), strict=True)
        for patch in clip[: length // PATCH * PATCH].reshape(-1, PATCH * FEATURES)
    ]
    return torch.stack(rows)


def test_components_are_those_of_a_singular_value_decomposition():
    found = principal_components(batches(), PATCH, 24)
    rows = whole_patches()
    centred = rows - rows.mean(dim=0)
    deviations = torch.linalg.svdvals(centred)[:RANK] / len(rows) ** 0.5
    assert len(found.spread) == RANK  # directions without variance are left out
    torch.testing.assert_close(found.spread, deviations)
    torch.testing.assert_close(found.basis.T @ found.basis, torch.eye(RANK, dtype=torch.float64))
    torch.testing.assert_close(centred @ found.basis @ found.basis.T, centred)


def test_embedding_whitens_and_final_layer_restores():
    vae = MotionVAE(FEATURES, latent_tokens=4, latent_size=8, width=16, layers=3, heads=2, feedforward=16, patch=PATCH)
    vae = vae.double()
    start_from_components(vae.skel_embedding, vae.final_layer, principal_components(batches(), PATCH, 16))
    rows = whole_patches()
    codes = vae.skel_embedding(rows)[:, :RANK]
    torch.testing.assert_close(codes.T.cov(), torch.eye(RANK, dtype=torch.float64), atol=0.02, rtol=0.0)
    restored = codes @ vae.final_layer.weight[:, :RANK].T + vae.final_layer.bias
    torch.testing.assert_close(restored, rows, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("patch", [2, PATCH])
def test_identity_start_reconstructs_better_than_a_random_one(patch):
    torch.manual_seed(0)
    sizes = {"latent_tokens": 6, "latent_size": 16, "width": 32, "layers": 3, "heads": 2, "feedforward": 32}
    errors, logvars = {}, {}
    for start in (False, True):
        torch.manual_seed(1)
        vae = MotionVAE(FEATURES, **sizes, dropout=0.0, patch=patch, aligned=True, norm_first=True)
        if start:
            data = [(motion.float(), lengths) for motion, lengths in batches()]
            start_from_components(vae.skel_embedding, vae.final_layer, principal_components(data, patch, 32))
            start_as_identity(vae)
        motion, lengths = next(iter(batches()))
        clean = motion.float().masked_fill(motion > 1e5, 0.0)
        latent = vae.encode(clean, lengths)
        logvars[start] = latent.logvar.mean().item()
        errors[start] = (vae.decode(latent.mean, lengths, clean.shape[1]) - clean).square().mean().item()
    assert errors[True] < 0.8 * errors[False]
    assert logvars[True] < -1 < logvars[False]


def test_too_little_data_is_refused():
    with pytest.raises(DataError, match=r"two patches of 4 frames, the training split has 1: .* principal_init"):
        principal_components([(torch.zeros(1, PATCH, FEATURES), torch.tensor([PATCH]))], PATCH, 4)


def test_the_start_is_made_once_per_model(tmp_path, tiny_data, monkeypatch):
    """A resumed run has its weights already: reading the whole training split would only be thrown away."""
    started = []
    monkeypatch.setattr(principal, "start_from_components", lambda *arguments: started.append(arguments))
    settings = {"limit_train_batches": 1, "limit_val_batches": 0}
    first = trainer(tmp_path, max_epochs=1, **settings)
    module = vae_module(principal_init=True)
    first.fit(module, datamodule=tiny_data())
    assert len(started) == 1
    first.save_checkpoint(tmp_path / "last.ckpt")
    again = vae_module(principal_init=True)
    trainer(tmp_path, **settings).fit(
        again, datamodule=tiny_data(), ckpt_path=tmp_path / "last.ckpt", weights_only=True
    )
    trainer(tmp_path, max_epochs=1, **settings).fit(module, datamodule=tiny_data())
    assert len(started) == 1


def test_a_fit_starts_from_the_components(tmp_path, tiny_data):
    module, data = vae_module(principal_init=True), tiny_data()
    trainer(tmp_path, max_epochs=1, limit_train_batches=0, limit_val_batches=0).fit(module, datamodule=data)
    codes = []
    for batch in data.gallery_dataloader():
        rows, _ = group_frames(module.normalised(batch), batch.lengths, 4)
        whole = torch.arange(len(rows))[:, None] < (batch.lengths // 4)[None]
        codes.append(module.network.skel_embedding(rows[whole]).detach().double())
    deviation = torch.cat(codes).std(dim=0, correction=0)
    torch.testing.assert_close(deviation, torch.ones_like(deviation), rtol=0.01, atol=0.0)
