"""The latent denoiser's training on a frozen VAE."""

import pytest
import torch

from lightning_realign.checkpoints.diffusion import load_diffusion
from lightning_realign.checkpoints.vae import load_vae
from lightning_realign.diffusion import make_scheduler
from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.training import DiffusionTraining
from lightning_realign.training.denoising import DenoisingDraws
from lightning_realign.types import MotionTextBatch
from tests.helpers.training_runs import LossRecord, StopAfter, diffusion_module, trainer


def test_fit_writes_a_self_contained_checkpoint(tmp_path, tiny_data, text_cache, vae_path):
    data, module, record = tiny_data(), diffusion_module(text_cache, vae_path), LossRecord()
    fitted = trainer(tmp_path, max_epochs=12, callbacks=[record])
    fitted.fit(module, datamodule=data)
    assert sum(record.losses[-6:]) < 0.9 * sum(record.losses[:6])
    assert fitted.callback_metrics["val/loss"].isfinite()
    path = tmp_path / "diffusion.ckpt"
    fitted.save_checkpoint(path)
    bundle, vae = load_diffusion(path), load_vae(vae_path)
    for name, value in vae.network.state_dict().items():
        assert torch.equal(bundle.latents.vae.state_dict()[name], value), name
    assert torch.equal(bundle.normaliser.mean, vae.normaliser.mean)
    assert torch.equal(bundle.latents.statistics.mean, module.latents.statistics.mean)
    assert bundle.prediction == "epsilon"
    again = DiffusionTraining.load_from_checkpoint(path, weights_only=True)
    assert torch.equal(again.networks[1].query_pos.pe, module.networks[1].query_pos.pe)


def test_latents_are_standardised_over_the_training_split(tmp_path, tiny_data, text_cache, vae_path):
    module, data = diffusion_module(text_cache, vae_path, sample_latents=False), tiny_data()
    trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=0).fit(module, datamodule=data)
    statistics = module.latents.statistics
    with torch.no_grad():
        latents = torch.cat(
            [module.latents.encode(module.normalised(batch), batch.lengths).mean for batch in data.gallery_dataloader()]
        )
    assert len(latents) == 24
    torch.testing.assert_close(statistics.mean, latents.mean(dim=0), rtol=1e-4, atol=1e-5)
    spread = latents.std(dim=0, correction=0)
    floor = 0.05 * spread.square().mean().sqrt()
    torch.testing.assert_close(statistics.std, spread.clamp_min(floor), rtol=1e-3, atol=1e-5)


def test_resuming_continues_and_needs_no_vae_file(tmp_path, tiny_data, text_cache, vae_path):
    whole, resumed = LossRecord(), LossRecord()
    trainer(tmp_path, callbacks=[whole]).fit(diffusion_module(text_cache, vae_path), datamodule=tiny_data())
    stop = StopAfter(3, tmp_path / "half.ckpt")
    trainer(tmp_path, callbacks=[stop]).fit(diffusion_module(text_cache, vae_path), datamodule=tiny_data())
    trainer(tmp_path, callbacks=[resumed]).fit(
        diffusion_module(text_cache, str(tmp_path / "gone.ckpt")),
        datamodule=tiny_data(),
        ckpt_path=str(tmp_path / "half.ckpt"),
        weights_only=True,
    )
    assert len(whole.losses) == 6
    assert resumed.losses == whole.losses[3:]


def test_the_vae_stays_frozen_and_in_eval_mode(tmp_path, tiny_data, text_cache, vae_path):
    module = diffusion_module(text_cache, vae_path)
    fitted = trainer(tmp_path, max_epochs=1)
    fitted.fit(module, datamodule=tiny_data())
    vae, denoiser = module.train().networks
    assert not any(part.training for part in vae.modules())
    assert denoiser.training
    (optimizer,) = fitted.optimizers
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert trained == {id(parameter) for parameter in denoiser.parameters()}


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
def test_a_perfect_denoiser_has_no_loss_and_steps_back_to_the_latent(
    tmp_path, tiny_data, text_cache, vae_path, prediction
):
    """The loss has diffusers' convention of timesteps: a scheduler given the target recovers the clean latent."""
    module = diffusion_module(text_cache, vae_path, prediction=prediction)
    trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=0).fit(module, datamodule=tiny_data())
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(5, 2, 8, generator=generator), torch.randn(5, 2, 8, generator=generator)
    batch = MotionTextBatch(torch.zeros(5, 4, 263), torch.full((5,), 4), tuple("abcde"), ("",) * 5, (None,) * 5)
    seen = []

    class Perfect(torch.nn.Module):
        def forward(self, noisy, index, text):
            seen.append(noisy)
            return noise if prediction == "epsilon" else clean

    module.denoiser = Perfect()
    index = torch.full((5,), 400)
    draws = DenoisingDraws(index, noise, torch.zeros(5, dtype=torch.bool))
    assert not module.denoising_loss(clean, draws, batch).any()
    scheduler = make_scheduler("ddim", module.denoising.schedule, prediction)
    scheduler.set_timesteps(module.denoising.schedule.steps)
    output = noise if prediction == "epsilon" else clean
    recovered = scheduler.step(output, 400, seen[0]).pred_original_sample
    torch.testing.assert_close(recovered.float(), clean, rtol=1e-4, atol=1e-4)


def test_dropped_captions_become_the_empty_one(tmp_path, tiny_data, text_cache, vae_path):
    module, data = diffusion_module(text_cache, vae_path), tiny_data()
    data.setup("fit")
    batch = next(iter(data.val_dataloader()))
    dropped = torch.arange(len(batch)) % 2 == 0
    sentences = module._sentences(batch, dropped)
    expected = module.text([*batch.captions]).sentence
    empty = module.text([""]).sentence[0]
    assert torch.equal(sentences[~dropped], expected[~dropped])
    assert all(torch.equal(row, empty) for row in sentences[dropped])


def test_validation_depends_on_the_samples_alone(tmp_path, tiny_data, text_cache, vae_path):
    module = diffusion_module(text_cache, vae_path)
    fitted = trainer(tmp_path, max_epochs=1)
    fitted.fit(module, datamodule=tiny_data())
    losses = [
        trainer(tmp_path).validate(module, datamodule=tiny_data(size), verbose=False)[0]["val/loss"]
        for size in (1, 3, 8)
    ]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_wrong_settings_are_refused(tmp_path, tiny_data, text_cache, vae_path):
    with pytest.raises(ConfigError, match="text_drop is 2"):
        DiffusionTraining(text_drop=2)
    with pytest.raises(ConfigError, match="vae is not set"):
        trainer(tmp_path).fit(diffusion_module(text_cache, None), datamodule=tiny_data())
    with pytest.raises(CheckpointError, match="no such VAE checkpoint"):
        trainer(tmp_path).fit(diffusion_module(text_cache, str(tmp_path / "none.ckpt")), datamodule=tiny_data())
    with pytest.raises(CheckpointError, match=r"'humanml3d'.*'kit'"):
        trainer(tmp_path).fit(diffusion_module(text_cache, vae_path, skeleton="kit"), datamodule=tiny_data())
