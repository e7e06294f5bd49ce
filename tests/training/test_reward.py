"""Algorithm 1: timestep law, draws, steps, resuming, metrics that depend on nothing else."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_realign.checkpoints.reward import load_reward
from lightning_realign.errors import CheckpointError, ConfigError, FeatureSpecError
from lightning_realign.models import RewardArchitecture
from lightning_realign.settings.training import RewardLossConfig
from lightning_realign.training import RewardTraining
from lightning_realign.training.noise import RewardDraws, RewardNoise
from tests.helpers.training_runs import REWARD, SIZES, LossRecord, as_trained, reward_module, trainer, vae_module


def prepared(module, data):
    """The module with the data set's statistics, in eval mode, and a training batch."""
    data.setup("fit")
    module.normaliser.set(data.normaliser.mean, data.normaliser.std)
    return module.eval(), next(iter(data.train_dataloader()))


def terms(module, batch, draws):
    return module.terms(batch, module.states(batch), draws, gather=False)


def test_omega_mixes_clean_and_noisy_samples():
    size, omega = 40000, 0.3
    t = RewardNoise(omega=omega, t_min=5, t_max=24).draw(size, torch.Generator().manual_seed(0))
    bound = 4.5 * math.sqrt(size * omega * (1 - omega))
    assert abs((t == 0).sum().item() - size * omega) < bound
    noisy = t[t > 0]
    assert set(noisy.unique().tolist()) == set(range(5, 25))
    counts = torch.bincount(noisy, minlength=25)[5:].double()
    expected = len(noisy) / 20
    chi_square = ((counts - expected) ** 2 / expected).sum().item()
    assert chi_square < 19 + 6 * math.sqrt(2 * 19)


@pytest.mark.parametrize(("omega", "clean"), [(1.0, True), (0.0, False)])
def test_omega_at_its_ends(omega, clean):
    t = RewardNoise(omega=omega).draw(2000, torch.Generator().manual_seed(0))
    assert bool((t == 0).all()) if clean else int(t.min()) >= 1


def test_fit_writes_a_self_contained_checkpoint(tmp_path, tiny_data, text_cache):
    data, module = tiny_data(), reward_module(text_cache)
    fitted = trainer(tmp_path)
    fitted.fit(module, datamodule=data)
    logged = fitted.callback_metrics
    for name in ("train/loss", "train/contrastive", "val/loss", "val/kl", "val/t0/t2m_R@1", "val/t300/m2t_MedR"):
        assert logged[name].isfinite(), name
    assert 0 < logged["val/t0/t2m_R@10"] <= 100
    path = tmp_path / "reward.ckpt"
    fitted.save_checkpoint(path)
    bundle = load_reward(path)
    assert bundle.fingerprint == data.fingerprint
    assert (bundle.omega, bundle.t_min, bundle.t_max) == (0.5, 1, 1000)
    assert (bundle.skeleton, bundle.text_encoder) == ("humanml3d", "all-MiniLM-L6-v2")
    assert torch.equal(bundle.normaliser.mean, data.normaliser.mean)
    content = torch.load(path, weights_only=True)
    assert content["hyper_parameters"]["network"]["width"] == 32
    assert content["hyper_parameters"]["noise"]["validation_timesteps"] == [0, 300]
    again = RewardTraining.load_from_checkpoint(path, weights_only=True)
    assert again.network.architecture == REWARD
    assert torch.equal(again.network.final_layer.weight, module.network.final_layer.weight)


def test_test_logs_both_protocols(tmp_path, tiny_data, text_cache):
    runner = trainer(tmp_path)
    (found,) = runner.test(as_trained(reward_module(text_cache)), datamodule=tiny_data(), verbose=False)
    assert math.isfinite(found["test/t0/t2m_R@1"])
    assert math.isnan(found["test/t0/pool32/t2m_R@1"])  # the split has no 32 motions


def test_validation_depends_on_nothing_but_the_samples(tmp_path, tiny_data, text_cache):
    module = as_trained(reward_module(text_cache, loss=RewardLossConfig(contrastive_weight=0.0)))
    found = [
        trainer(tmp_path).validate(copy.deepcopy(module), datamodule=tiny_data(size, bucket=bucket), verbose=False)[0]
        for size, bucket in ((8, True), (3, True), (1, False))
    ]
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-5)


def test_resuming_continues_the_run(tmp_path, tiny_data, text_cache):
    whole, resumed = LossRecord(), LossRecord()
    keep = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    settings = {"max_epochs": 3, "enable_checkpointing": True}
    trainer(tmp_path, callbacks=[whole, keep], **settings).fit(reward_module(text_cache), datamodule=tiny_data())
    trainer(tmp_path, callbacks=[resumed], **settings).fit(
        reward_module(text_cache), datamodule=tiny_data(), ckpt_path=str(tmp_path / "epoch=0.ckpt"), weights_only=True
    )
    assert len(whole.losses) == 9
    assert resumed.losses == whole.losses[3:]


def test_the_loss_ignores_padding(tiny_data, text_cache):
    module, batch = prepared(reward_module(text_cache), tiny_data())
    torch.manual_seed(0)
    draws = module.draw(batch, module.states(batch))
    longer = replace(batch, motion=torch.nn.functional.pad(batch.motion, (0, 0, 0, 9), value=3.0))
    noise = torch.nn.functional.pad(draws.noise, (0, 0, 0, 9), value=100.0)
    expected = terms(module, batch, draws)
    found = terms(module, longer, replace(draws, noise=noise))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_noise_reaches_the_noisy_samples_only(tiny_data, text_cache):
    """With omega = 1 the noise has no influence; a noisy target differs from a clean one only for noisy samples."""
    clean, batch = prepared(reward_module(text_cache, noise={"omega": 1.0}), tiny_data())
    draws = clean.draw(batch, clean.states(batch))
    assert not draws.t.any()
    quiet = replace(draws, noise=torch.zeros_like(draws.noise))
    assert torch.equal(
        terms(clean, batch, draws)["loss"],
        terms(clean, batch, quiet)["loss"],
    )
    noisy, _ = prepared(
        reward_module(text_cache, noise={"omega": 1.0}, loss=RewardLossConfig(reconstruct="noisy")), tiny_data()
    )
    assert torch.equal(
        terms(clean, batch, draws)["loss"],
        terms(noisy, batch, draws)["loss"],
    )
    high = replace(draws, t=torch.full_like(draws.t, 900))
    first, second = (terms(module, batch, high)["reconstruction"] for module in (clean, noisy))
    assert abs(first - second) > 0.01


def test_tmr_and_temos_are_configurations(tiny_data, text_cache):
    network = RewardArchitecture(**SIZES, patch=4, step_aware=False)
    tmr, batch = prepared(
        reward_module(text_cache, network=network, noise={"omega": 1.0}, loss=RewardLossConfig(agreement_weight=0.0)),
        tiny_data(),
    )
    assert not any(name.startswith("time_embedding") for name, _ in tmr.network.named_parameters())
    draws = tmr.draw(batch, tmr.states(batch))
    found = terms(tmr, batch, draws)
    expected = 0.1 * found["contrastive"] + found["reconstruction"] + 1e-5 * found["kl"] + 1e-5 * found["latent"]
    torch.testing.assert_close(found["loss"], expected)
    temos, _ = prepared(
        reward_module(text_cache, network=network, noise={"omega": 1.0}, loss=RewardLossConfig(contrastive_weight=0.0)),
        tiny_data(),
    )
    assert "contrastive" not in terms(temos, batch, draws)


def test_evaluation_draws_per_sample(tiny_data, text_cache):
    module, batch = prepared(reward_module(text_cache), tiny_data())
    draws = module.fixed_draws(batch, module.states(batch))
    alone = replace(
        batch, motion=batch.motion[2:3], lengths=batch.lengths[2:3], ids=batch.ids[2:3], captions=batch.captions[2:3]
    )
    single = module.fixed_draws(alone, module.states(alone))
    assert torch.equal(single.noise[0], draws.noise[2])
    assert torch.equal(single.t[0], draws.t[2])
    assert isinstance(single, RewardDraws)
    assert not draws.motion.any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": {"omega": 1.5}}, "omega is 1.5"),
        ({"noise": {"t_min": 0}}, "t_min=0"),
        ({"noise": {"t_max": 1001}}, "t_max=1001"),
        ({"noise": {"t_min": 20, "t_max": 10}}, "t_min=20"),
        ({"noise": {"t_max": 60, "schedule": {"steps": 50}}}, "t_max=60; need 1 <= t_min <= t_max <= 50"),
        ({"loss": {"reconstruct": "half"}}, "'half'"),
        ({"loss": {"temperature": 0.0}}, "temperature"),
        ({"loss": {"kl_weight": -1.0}}, "kl"),
        ({"optimiser": {"learning_rate": 0.0}}, "learning_rate"),
        ({"optimiser": {"warmup_steps": -1}}, "warmup_steps"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message, text_cache):
    with pytest.raises(ConfigError, match=message):
        RewardTraining(network=REWARD, text_cache=text_cache, **settings)


def test_another_skeleton_is_refused(tmp_path, tiny_data, text_cache):
    module = reward_module(text_cache, skeleton="kit")
    with pytest.raises(FeatureSpecError, match=r"'kit'.*'humanml3d'"):
        trainer(tmp_path).fit(module, datamodule=tiny_data())


def test_a_trainer_without_data_module_is_refused(tmp_path, tiny_data, text_cache):
    data = tiny_data()
    data.setup("fit")
    with pytest.raises(ConfigError, match="data module"):
        trainer(tmp_path).fit(reward_module(text_cache), data.train_dataloader())


def test_a_checkpoint_of_another_kind_is_refused(tmp_path, tiny_data, text_cache):
    fitted = trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=0)
    fitted.fit(vae_module(), datamodule=tiny_data())
    path = tmp_path / "vae.ckpt"
    fitted.save_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"kind 'vae', expected 'reward'"):
        trainer(tmp_path).test(reward_module(text_cache), datamodule=tiny_data(), ckpt_path=path, weights_only=True)
