"""Lightning's weight averaging on these modules: validation and checkpoints hold the averaged weights."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging

from lightning_realign.checkpoints.diffusion import load_diffusion
from lightning_realign.checkpoints.reward import load_reward
from lightning_realign.checkpoints.vae import load_vae
from tests.helpers.training_runs import LossRecord, StopAfter, diffusion_module, reward_module, trainer, vae_module

DECAY = 0.8


class Follow(L.Callback):
    """Averages the weights on its own, and notes what validation sees."""

    def __init__(self):
        self.average = None
        self.validated = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        current = {name: p.detach().clone() for name, p in pl_module.network.named_parameters()}
        if self.average is None:
            self.average = current
        else:
            self.average = {name: DECAY * self.average[name] + (1 - DECAY) * p for name, p in current.items()}

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.validated.append(pl_module.network.final_layer.weight.clone())


def averaging(**settings):
    return EMAWeightAveraging(decay=DECAY, use_buffers=False, **settings)


def test_validation_and_checkpoint_hold_the_average(tmp_path, tiny_data, text_cache):
    data, module, follow = tiny_data(), reward_module(text_cache), Follow()
    fitted = trainer(tmp_path, callbacks=[follow, averaging(), SaveBeforeEnd(tmp_path / "run.ckpt")])
    fitted.fit(module, datamodule=data)
    expected = follow.average
    torch.testing.assert_close(follow.validated[-1], expected["final_layer.weight"], rtol=1e-5, atol=1e-6)
    bundle = load_reward(tmp_path / "run.ckpt")
    for name, parameter in bundle.network.named_parameters():
        torch.testing.assert_close(parameter.data, expected[name], rtol=1e-5, atol=1e-6, msg=name)
    assert torch.equal(bundle.normaliser.mean, data.normaliser.mean)
    raw = torch.load(tmp_path / "run.ckpt", weights_only=True)["current_model_state"]
    assert not torch.equal(raw["network.final_layer.weight"], bundle.network.final_layer.weight)


def test_the_average_knows_the_statistics_before_its_first_update(tmp_path, tiny_data, text_cache):
    """Lightning copies the module before `setup` has given it the data set's statistics."""
    data, module = tiny_data(), reward_module(text_cache)
    late = averaging(update_starting_at_step=1000)
    fitted = trainer(tmp_path, callbacks=[late, SaveBeforeEnd(tmp_path / "run.ckpt")], num_sanity_val_steps=1)
    fitted.fit(module, datamodule=data)
    assert torch.equal(load_reward(tmp_path / "run.ckpt").normaliser.std, data.normaliser.std)


def test_resuming_continues_with_both_sets_of_weights(tmp_path, tiny_data, text_cache):
    whole, resumed = LossRecord(), LossRecord()
    module, again = reward_module(text_cache), reward_module(text_cache)
    trainer(tmp_path, callbacks=[whole, averaging()]).fit(module, datamodule=tiny_data())
    stop = StopAfter(3, tmp_path / "half.ckpt")
    trainer(tmp_path, callbacks=[averaging(), stop]).fit(reward_module(text_cache), datamodule=tiny_data())
    trainer(tmp_path, callbacks=[resumed, averaging()]).fit(
        again, datamodule=tiny_data(), ckpt_path=str(tmp_path / "half.ckpt"), weights_only=True
    )
    assert resumed.losses == pytest.approx(whole.losses[3:], rel=1e-6)
    for (name, first), second in zip(module.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6, msg=name)


def test_averaging_on_a_frozen_vae(tmp_path, tiny_data, text_cache):
    """The VAE and the latents' statistics come out as they went in, and a run resumes without the VAE's file."""
    first = trainer(tmp_path, max_epochs=1, limit_val_batches=0)
    first.fit(vae_module(), datamodule=tiny_data())
    first.save_checkpoint(tmp_path / "vae.ckpt")
    whole, resumed = LossRecord(), LossRecord()
    module = diffusion_module(text_cache, str(tmp_path / "vae.ckpt"))
    stop = SaveBeforeEnd(tmp_path / "run{epoch}.ckpt")
    trainer(tmp_path, callbacks=[whole, averaging(), stop]).fit(module, datamodule=tiny_data())
    bundle, vae = load_diffusion(tmp_path / "run1.ckpt"), load_vae(tmp_path / "vae.ckpt")
    for name, value in vae.network.state_dict().items():
        torch.testing.assert_close(bundle.latents.vae.state_dict()[name], value, rtol=1e-5, atol=1e-7, msg=name)
    scale = bundle.latents.statistics.std
    assert torch.equal(scale, module.latents.statistics.std)
    assert not torch.equal(scale, torch.ones_like(scale))
    again = diffusion_module(text_cache, str(tmp_path / "gone.ckpt"))
    trainer(tmp_path, callbacks=[resumed, averaging()]).fit(
        again, datamodule=tiny_data(), ckpt_path=str(tmp_path / "run0.ckpt"), weights_only=True
    )
    assert resumed.losses == pytest.approx(whole.losses[3:], rel=1e-6)
    for (name, one), other in zip(module.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6, msg=name)


class SaveBeforeEnd(L.Callback):
    """Saves a checkpoint while the fit still runs, as ModelCheckpoint does."""

    def __init__(self, path):
        self.path = path

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.save_checkpoint(str(self.path).format(epoch=trainer.current_epoch))
