"""The motion-space denoiser's training, and the generator that its checkpoint is."""

from dataclasses import replace

import lightning as L
import pytest
import torch

from lightning_realign.checkpoints.diffusion import load_motion_diffusion
from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.generators import load_generator
from lightning_realign.guidance import RewardGuidedSampler
from lightning_realign.models.published.mdm import MotionDenoiserArchitecture
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.training import MotionDiffusionTraining
from lightning_realign.training.denoising import DenoisingDraws
from tests.helpers.training_runs import OPTIMISER, LossRecord, StopAfter, trainer

SMALL = MotionDenoiserArchitecture(width=32, layers=2, heads=2, feedforward=48, mask_frames=True, patch=4)
FORMS = {
    "patches": SMALL,
    "frames": replace(SMALL, patch=1),
    "unmasked": replace(SMALL, patch=1, mask_frames=False),
    "tokens": replace(SMALL, kind="decoder", text="tokens"),
}


def motion_module(text_cache, denoiser=SMALL, **settings):
    L.seed_everything(0)
    return MotionDiffusionTraining(denoiser=denoiser, text_cache=text_cache, optimiser=OPTIMISER, **settings)


@pytest.mark.parametrize("form", FORMS)
def test_a_trained_checkpoint_is_a_generator(tmp_path, tiny_data, text_cache, form):
    module, record = motion_module(text_cache, FORMS[form]), LossRecord()
    fitted = trainer(tmp_path, max_epochs=12, callbacks=[record])
    fitted.fit(module, datamodule=tiny_data())
    assert sum(record.losses[-6:]) < 0.9 * sum(record.losses[:6])
    fitted.save_checkpoint(tmp_path / "motion.ckpt")
    bundle = load_motion_diffusion(tmp_path / "motion.ckpt")
    for name, value in module.denoiser.state_dict().items():
        assert torch.equal(bundle.denoiser.state_dict()[name], value), name
    generator = load_generator(tmp_path / "motion.ckpt", sampling=SamplingConfig(steps=4), text_cache=text_cache).to(
        dtype=torch.float64
    )
    assert generator.latents is None
    assert generator.recipe.cfg_scale == 2.5
    texts, lengths = ["a person walks", "someone jumps twice", "walking"], torch.tensor([20, 31, 24])
    made = RewardGuidedSampler(generator).sample(texts, lengths)
    assert made.features.shape == (3, 31, 263)
    assert not made.features[0, 20:].any()
    for row in range(3):
        alone = RewardGuidedSampler(generator).sample([texts[row]], lengths[row : row + 1])
        torch.testing.assert_close(alone.features[0], made.features[row, : lengths[row]], rtol=0, atol=1e-8)


def test_resuming_continues(tmp_path, tiny_data, text_cache):
    whole, resumed = LossRecord(), LossRecord()
    trainer(tmp_path, callbacks=[whole]).fit(motion_module(text_cache), datamodule=tiny_data())
    stop = StopAfter(3, tmp_path / "half.ckpt")
    trainer(tmp_path, callbacks=[stop]).fit(motion_module(text_cache), datamodule=tiny_data())
    trainer(tmp_path, callbacks=[resumed]).fit(
        motion_module(text_cache), datamodule=tiny_data(), ckpt_path=str(tmp_path / "half.ckpt"), weights_only=True
    )
    assert resumed.losses == whole.losses[3:]


@pytest.mark.parametrize("form", ["patches", "frames", "unmasked"])
def test_validation_depends_on_the_samples_alone(tmp_path, tiny_data, text_cache, form):
    module = motion_module(text_cache, FORMS[form])
    trainer(tmp_path, max_epochs=1).fit(module, datamodule=tiny_data())
    losses = [
        trainer(tmp_path).validate(module, datamodule=tiny_data(size), verbose=False)[0]["val/loss"]
        for size in (1, 3, 8)
    ]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_a_network_that_reads_padding_is_trained_on_the_states_that_are_sampled(tmp_path, tiny_data, text_cache):
    module, seen = motion_module(text_cache, FORMS["unmasked"]), []
    module.denoiser.register_forward_pre_hook(lambda _, inputs: seen.append((inputs[0], inputs[3])))
    fitted = trainer(tmp_path, max_epochs=1)
    fitted.fit(module, datamodule=tiny_data())
    fitted.validate(module, datamodule=tiny_data(), verbose=False)
    fitted.save_checkpoint(tmp_path / "motion.ckpt")
    generator = load_generator(tmp_path / "motion.ckpt", text_cache=text_cache)
    assert {states.shape[1:] for states, _ in seen} == {generator.noise_shape(24)}
    assert all(states[row, length:].any(dim=1).all() for states, lengths in seen for row, length in enumerate(lengths))
    batch = next(iter(fitted.val_dataloaders))
    long = replace(batch, motion=batch.motion.repeat(1, 10, 1)[:, :197])
    with pytest.raises(FeatureSpecError, match=r"a motion of 197 frames: without mask_frames .* at most 196"):
        module.clean_states(long)


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
def test_the_loss_is_over_a_motions_own_frames(text_cache, tiny_data, prediction):
    module, data = motion_module(text_cache, prediction=prediction), tiny_data()
    data.setup("fit")
    batch = next(iter(data.val_dataloader()))
    clean, noise = module.clean_states(batch), torch.randn(batch.motion.shape)
    target = noise if prediction == "epsilon" else clean
    module.denoiser.forward = lambda noisy, index, text, lengths, dropped: target + far
    far = torch.zeros_like(target)
    far[0, batch.lengths[0] :] = 100.0
    kept, index = torch.zeros(len(batch), dtype=torch.bool), torch.full((len(batch),), 400)
    draws = DenoisingDraws(index, noise, kept)
    assert not module.denoising_loss(clean, draws, batch).any()
    far[0, : batch.lengths[0] // 2] = 2.0
    loss = module.denoising_loss(clean, draws, batch)
    assert loss[0].item() == pytest.approx(4.0 * int(batch.lengths[0] // 2) / int(batch.lengths[0]), rel=1e-5)
    assert not loss[1:].any()


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match="text_drop is 2"):
        MotionDiffusionTraining(text_drop=2)
    with pytest.raises(ConfigError, match="mask_frames"):
        MotionDiffusionTraining(denoiser=replace(SMALL, mask_frames=False))
