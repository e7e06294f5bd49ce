"""The settings of trainings: kept as plain values, restored from them, and read from the flat form of before."""

from dataclasses import asdict
from inspect import signature

import pytest
import torch

from lightning_realign.checkpoints.reward import load_reward
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.errors import CheckpointError
from lightning_realign.models import RewardArchitecture
from lightning_realign.settings.plain import plain, restored
from lightning_realign.settings.training import OptimiserConfig
from lightning_realign.training import (
    DiffusionTraining,
    EvaluatorTraining,
    MotionDiffusionTraining,
    RewardTraining,
    VAETraining,
)
from lightning_realign.training.noise import RewardNoise
from tests.helpers.training_runs import reward_module, trainer

KINDS = (DiffusionTraining, EvaluatorTraining, MotionDiffusionTraining, RewardTraining, VAETraining)
SMALL = {"width": 32, "layers": 3, "heads": 2, "feedforward": 48}


@pytest.mark.parametrize("kind", KINDS)
def test_every_argument_is_a_plain_hyper_parameter(kind):
    network = {"network": RewardArchitecture(**SMALL)} if kind is RewardTraining else {}
    arguments = set(signature(kind).parameters)
    assert len(arguments) <= 12
    module = kind(optimiser=OptimiserConfig(2e-3), seed=7, **network)
    assert set(module.hparams) == arguments
    assert module.hparams["optimiser"] == {"learning_rate": 2e-3, "warmup_steps": 1000, "weight_decay": 0.0}
    assert plain(dict(module.hparams)) == dict(module.hparams)
    again = kind(**module.hparams)
    assert again.hparams == module.hparams
    assert again.optimiser == OptimiserConfig(2e-3)


def test_settings_within_settings_are_restored():
    noise = RewardNoise(NoiseSchedule("cosine", steps=50), omega=0.2, t_max=40, validation_timesteps=[0, 20])
    assert restored(RewardNoise, plain(noise)) == noise
    assert restored(RewardNoise, noise) is noise


def flat(content):
    """The checkpoint with its hyper-parameters as they were before settings came in groups."""
    settings = content["hyper_parameters"]
    groups = [settings.pop(name) for name in ("noise", "loss", "optimiser")]
    for group in groups:
        settings |= group
    return content


def test_a_checkpoint_with_flat_settings(tmp_path, tiny_data, text_cache):
    """It is a reward, it is tested, and it is refused where its settings would silently be lost."""
    limits = {"limit_train_batches": 1, "limit_val_batches": 1, "max_epochs": 1}
    fitted, module = trainer(tmp_path, **limits), reward_module(text_cache, noise={"omega": 0.25})
    fitted.fit(module, datamodule=tiny_data())
    fitted.save_checkpoint(tmp_path / "new.ckpt")
    old = tmp_path / "old.ckpt"
    torch.save(flat(torch.load(tmp_path / "new.ckpt", weights_only=True)), old)
    assert torch.equal(load_reward(old).network.final_layer.weight, module.network.final_layer.weight)
    again = reward_module(text_cache, noise={"omega": 0.25})
    found = [
        trainer(tmp_path).test(again, datamodule=tiny_data(), ckpt_path=path, weights_only=True, verbose=False)
        for path in (old, tmp_path / "new.ckpt")
    ]
    assert str(found[0]) == str(found[1])
    by_hand = RewardTraining.load_from_checkpoint(tmp_path / "new.ckpt", weights_only=True)
    assert asdict(by_hand.noise) == asdict(module.noise) | {"validation_timesteps": [0, 300]}
    with pytest.raises(CheckpointError, match=r"settings of an earlier version \(.*omega.*\), which would be lost"):
        RewardTraining.load_from_checkpoint(old, weights_only=True)
