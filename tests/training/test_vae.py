"""The VAE's training."""

import math
from dataclasses import replace

import pytest
import torch

from lightning_realign.checkpoints.vae import load_vae
from lightning_realign.errors import ConfigError
from lightning_realign.motion import recover_joints
from lightning_realign.training import VAETraining
from lightning_realign.types import Gaussian
from tests.helpers.training_runs import LossRecord, StopAfter, trainer, vae_module


def prepared(module, data):
    data.setup("fit")
    module.normaliser.set(data.normaliser.mean, data.normaliser.std)
    return module.eval(), next(iter(data.val_dataloader()))


def test_fit_learns_and_writes_a_self_contained_checkpoint(tmp_path, tiny_data):
    data, module, record = tiny_data(), vae_module(), LossRecord()
    fitted = trainer(tmp_path, max_epochs=8, callbacks=[record])
    fitted.fit(module, datamodule=data)
    assert sum(record.losses[-3:]) < 0.9 * sum(record.losses[:3])
    for name in ("train/kl", "val/reconstruction", "val/joint_error_mm"):
        assert fitted.callback_metrics[name].isfinite()
    path = tmp_path / "vae.ckpt"
    fitted.save_checkpoint(path)
    bundle = load_vae(path)
    assert torch.equal(bundle.normaliser.std, data.normaliser.std)
    assert bundle.network.architecture == module.network.architecture
    again = VAETraining.load_from_checkpoint(path, weights_only=True)
    assert torch.equal(again.network.global_motion_token, module.network.global_motion_token)


def test_resuming_continues_the_run(tmp_path, tiny_data):
    whole, resumed = LossRecord(), LossRecord()
    first = trainer(tmp_path, max_epochs=2, callbacks=[whole])
    first.fit(vae_module(), datamodule=tiny_data())
    stopped = trainer(tmp_path, max_epochs=2, limit_val_batches=0, callbacks=[StopAfter(3, tmp_path / "half.ckpt")])
    stopped.fit(vae_module(), datamodule=tiny_data())
    trainer(tmp_path, max_epochs=2, callbacks=[resumed]).fit(
        vae_module(), datamodule=tiny_data(), ckpt_path=tmp_path / "half.ckpt", weights_only=True
    )
    assert resumed.losses == whole.losses[3:]


def test_joint_error_is_the_mean_distance_in_millimetres(tiny_data):
    module, batch = prepared(vae_module(), tiny_data())
    latent = module._encode(batch)
    terms = module.terms(batch, latent, latent.mean)
    decoded = module.network.decode(latent.mean, batch.lengths, batch.motion.shape[1])
    per_sample = []
    for made, true, length in zip(
        module.normaliser.denormalise(decoded), batch.motion, batch.lengths.tolist(), strict=True
    ):
        difference = recover_joints(made[:length], module.skeleton) - recover_joints(true[:length], module.skeleton)
        per_sample.append(1000 * difference.norm(dim=-1).mean().item())
    assert terms["joint_error_mm"].item() == pytest.approx(sum(per_sample) / len(per_sample), rel=1e-4)


def test_a_perfect_decoder_has_no_loss_but_kl(tiny_data):
    module, batch = prepared(vae_module(kl_weight=0.5), tiny_data())
    module.network.decode = lambda z, lengths, size: module.normalised(batch)
    latent = Gaussian(torch.ones(len(batch), 2, 8), torch.zeros(len(batch), 2, 8))
    terms = module.terms(batch, latent, latent.mean)
    assert terms["joint_error_mm"] < 0.1
    assert terms["kl"] == 0.5
    assert terms["loss"].item() == pytest.approx(0.25, abs=1e-6)


def test_the_loss_ignores_padding(tiny_data):
    module, batch = prepared(vae_module(), tiny_data())
    longer = replace(batch, motion=torch.nn.functional.pad(batch.motion, (0, 0, 0, 9), value=3.0))
    found = []
    for each in (batch, longer):
        latent = module._encode(each)
        found.append(module.terms(each, latent, latent.mean))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_weights_mean_the_same_in_metres_and_millimetres(tiny_data):
    module, batch = prepared(vae_module(), tiny_data())
    latent = module._encode(batch)
    metres = module.terms(batch, latent, latent.mean)
    scaled = torch.ones(263)
    for name, block in module.skeleton.blocks:
        if name not in ("root_yaw_velocity", "rotations", "contacts"):
            scaled[block] = 1000.0
    module.normaliser.set(module.normaliser.mean * scaled, module.normaliser.std * scaled)
    module.skeleton = replace(module.skeleton, unit="millimetre")
    millimetres = module.terms(replace(batch, motion=batch.motion * scaled), latent, latent.mean)
    for name in ("loss", "joints", "velocities", "joint_error_mm"):
        assert millimetres[name].item() == pytest.approx(metres[name].item(), rel=1e-3), name


def test_the_joint_term_can_be_left_out(tiny_data):
    module, batch = prepared(vae_module(joint_weight=0.0), tiny_data())
    latent = module._encode(batch)
    terms = module.terms(batch, latent, latent.mean)
    assert not terms["joints"].requires_grad
    assert math.isclose(terms["loss"].item(), (terms["reconstruction"] + 1e-4 * terms["kl"]).item(), rel_tol=1e-6)


def test_velocities_see_a_tremor_that_positions_hardly_see(tiny_data):
    """Every other frame one centimetre higher: 0.01 m off on one of three axes, at twice that per frame."""
    module, batch = prepared(vae_module(velocity_weight=0.5), tiny_data())
    blocks = dict(module.skeleton.blocks)
    lifted = batch.motion.clone()
    lifted[:, ::2, blocks["root_height"]] += 0.01
    lifted[:, ::2, blocks["positions"]][..., 1::3] += 0.01
    module.network.decode = lambda z, lengths, size: module.normaliser.normalise(lifted)
    latent = Gaussian(torch.zeros(len(batch), 2, 8), torch.zeros(len(batch), 2, 8))
    terms = module.terms(batch, latent, latent.mean)
    assert terms["velocities"].item() == pytest.approx(0.01 * module.skeleton.fps / 3, rel=1e-3)
    assert terms["joints"].item() == pytest.approx(0.5 * 0.01**2 / 3 / 2, rel=0.05)
    assert terms["loss"].item() == pytest.approx(
        (terms["reconstruction"] + terms["joints"] + 0.5 * terms["velocities"]).item(), rel=1e-5
    )


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="kl_weight is -1"):
        VAETraining(kl_weight=-1)
    with pytest.raises(ConfigError, match="velocity_weight is -1"):
        VAETraining(velocity_weight=-1)
