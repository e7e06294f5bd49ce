"""Rewards whose noise lives on a VAE's latents, read as latents or as decoded motions."""

import pytest
import torch

from lightning_realign.checkpoints.reward import load_reward
from lightning_realign.checkpoints.vae import load_vae
from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.models import RewardArchitecture
from lightning_realign.settings.training import OptimiserConfig
from tests.helpers.training_runs import SIZES, LossRecord, StopAfter, diffusion_module, reward_module, trainer

PATCHES = {"latent": 1, "decoded": 4}


@pytest.fixture(params=sorted(PATCHES))
def space(request):
    return request.param


def module_of(space, text_cache, vae_path, **settings):
    network = RewardArchitecture(**SIZES, patch=PATCHES[space])
    return reward_module(text_cache, network=network, space=space, vae=vae_path, **settings)


def batch_of(data):
    data.setup("fit")
    return next(iter(data.train_dataloader()))


def test_fit_writes_a_self_contained_checkpoint(tmp_path, tiny_data, text_cache, vae_path, space):
    module, record = module_of(space, text_cache, vae_path), LossRecord()
    fitted = trainer(tmp_path, max_epochs=12, callbacks=[record])
    fitted.fit(module, datamodule=tiny_data())
    assert sum(record.losses[-6:]) < 0.9 * sum(record.losses[:6])
    fitted.save_checkpoint(tmp_path / "reward.ckpt")
    bundle, vae = load_reward(tmp_path / "reward.ckpt"), load_vae(vae_path)
    assert bundle.space.name == space
    assert torch.equal(bundle.normaliser.std, vae.normaliser.std)
    for name, value in vae.network.state_dict().items():
        assert torch.equal(bundle.space.latents.vae.state_dict()[name], value), name
    assert not any(part.training for part in bundle.space.latents.modules())
    batch = batch_of(tiny_data())
    module.eval()
    seen, lengths = module.clean_input(batch)
    expected = module.network.encode_motion(seen, lengths, torch.zeros_like(batch.lengths)).mean
    torch.testing.assert_close(bundle.embed(batch.motion, batch.lengths), expected, rtol=1e-4, atol=1e-5)


def test_the_latents_are_standardised_as_the_generator_s(tmp_path, tiny_data, text_cache, vae_path, space):
    """Reward and denoiser measure the same split: their states are the same up to the VAE's own noise."""
    modules = module_of(space, text_cache, vae_path), diffusion_module(text_cache, vae_path, sample_latents=False)
    for module in modules:
        trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=0).fit(module, datamodule=tiny_data())
    first, second = (module.latent_space for module in modules)
    assert torch.equal(first.statistics.mean, second.statistics.mean)
    assert torch.equal(first.statistics.std, second.statistics.std)
    assert first.fingerprint() == second.fingerprint()


def test_what_the_network_reads(tiny_data, text_cache, vae_path, space):
    """t = 0 is exactly clean; noise of a latent spreads over the decoded motion, and stays within its length."""
    module = module_of(space, text_cache, vae_path)
    module.read_vae()
    module.eval()
    batch = batch_of(tiny_data())
    states = module.states(batch)
    latents = module.latent_space
    normalised = module.normalised(batch)
    torch.testing.assert_close(states, latents.encode(normalised, batch.lengths).mean)
    draws = module.fixed_draws(batch, states)
    clean = module.schedule.add_noise(states, torch.zeros_like(draws.t), draws.noise)
    assert torch.equal(clean, states)
    half = module.schedule.add_noise(states, torch.full_like(draws.t, 500), draws.noise)
    noisy = module.space.view(half, batch.lengths)
    if space == "latent":
        assert noisy.shape == states.shape
        assert module.space.read_lengths(batch.lengths).eq(2).all()
    else:
        decoded = latents.vae.decode(states, batch.lengths, int(batch.lengths.max()))
        assert torch.equal(module.space.view(states, batch.lengths), decoded)
        padding = torch.arange(noisy.shape[1])[None] >= batch.lengths[:, None]
        assert not noisy[padding].any()
        assert ((noisy - decoded)[~padding] != 0).all(-1).all()


def test_resuming_continues_and_needs_no_vae_file(tmp_path, tiny_data, text_cache, vae_path, space):
    whole, resumed = LossRecord(), LossRecord()
    trainer(tmp_path, callbacks=[whole]).fit(module_of(space, text_cache, vae_path), datamodule=tiny_data())
    stop = StopAfter(3, tmp_path / "half.ckpt")
    trainer(tmp_path, callbacks=[stop]).fit(module_of(space, text_cache, vae_path), datamodule=tiny_data())
    again = module_of(space, text_cache, str(tmp_path / "gone.ckpt"))
    trainer(tmp_path, callbacks=[resumed]).fit(
        again, datamodule=tiny_data(), ckpt_path=str(tmp_path / "half.ckpt"), weights_only=True
    )
    assert resumed.losses == whole.losses[-len(resumed.losses) :]


def test_cached_latents_are_those_of_the_fixed_crop(tmp_path, tiny_data, text_cache, vae_path):
    module = module_of("latent", text_cache, vae_path, cache_latents=True)
    trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=0).fit(module, datamodule=tiny_data())
    data = tiny_data()
    data.setup("fit")
    batch = next(iter(data.gallery_dataloader()))
    fresh = module.eval().states(batch)
    cached = module.train().states(batch)
    torch.testing.assert_close(cached, fresh, rtol=1e-4, atol=1e-5)


def test_principal_start(tmp_path, tiny_data, text_cache, vae_path):
    """The embedding whitens what the network reads: here the 8 channels of the training split's latents."""
    module = module_of("latent", text_cache, vae_path, principal_init=True)
    module.optimiser = OptimiserConfig(learning_rate=1e-12)
    trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=0).fit(module, datamodule=tiny_data())
    data = tiny_data()
    data.setup("fit")
    with torch.no_grad():
        inputs = torch.cat([module.clean_input(batch)[0] for batch in data.gallery_dataloader()])
        tokens = module.network.skel_embedding(inputs).flatten(0, 1)[:, :8]
    torch.testing.assert_close(tokens.mean(dim=0), torch.zeros(8), atol=1e-3, rtol=0)
    torch.testing.assert_close(tokens.T.cov(correction=0), torch.eye(8), atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"space": "latent"}, "RewardTraining.vae is not set"),
        ({"space": "decoded", "vae": "gone.ckpt"}, "gone.ckpt: no such VAE checkpoint"),
        ({"vae": "some.ckpt"}, "space motion has no VAE"),
        ({"cache_latents": True}, "space motion has no latents"),
        ({"space": "pixels"}, "choose motion, decoded, latent"),
    ],
)
def test_wrong_settings(tmp_path, tiny_data, text_cache, settings, message):
    with pytest.raises((ConfigError, CheckpointError), match=message):
        trainer(tmp_path).fit(reward_module(text_cache, **settings), datamodule=tiny_data())
