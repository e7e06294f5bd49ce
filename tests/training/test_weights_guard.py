"""What the trainings refuse: measuring random weights, and precisions without float32 weights."""

import pytest

from lightning_realign.errors import ConfigError
from tests.helpers.training_runs import diffusion_module, reward_module, trainer, vae_module


@pytest.mark.parametrize("command", ["validate", "test"])
@pytest.mark.parametrize("kind", ["reward", "vae", "diffusion"])
def test_random_weights_are_not_measured(tmp_path, tiny_data, text_cache, kind, command):
    runner = trainer(tmp_path, limit_val_batches=1, limit_test_batches=1)
    module = {
        "reward": lambda: reward_module(text_cache),
        "vae": vae_module,
        "diffusion": lambda: diffusion_module(text_cache, None),
    }[kind]()
    with pytest.raises(ConfigError, match=rf"^{type(module).__name__} has random weights, .*--ckpt_path$") as caught:
        getattr(runner, command)(module, datamodule=tiny_data(), verbose=False)
    assert "\n" not in str(caught.value)


def test_trained_weights_are_measured(tmp_path, tiny_data):
    """Those of a fit in this process, of a checkpoint that the trainer loads, and of one loaded by hand."""
    limits = {"limit_train_batches": 1, "limit_val_batches": 1, "limit_test_batches": 1, "max_epochs": 1}
    fitted, module = trainer(tmp_path, **limits), vae_module()
    fitted.fit(module, datamodule=tiny_data())
    (expected,) = fitted.test(module, datamodule=tiny_data(), verbose=False)
    path = tmp_path / "last.ckpt"
    fitted.save_checkpoint(path)
    by_trainer = trainer(tmp_path, **limits).test(
        vae_module(), datamodule=tiny_data(), ckpt_path=path, weights_only=True, verbose=False
    )
    by_hand = trainer(tmp_path, **limits).test(
        type(module).load_from_checkpoint(path, weights_only=True), datamodule=tiny_data(), verbose=False
    )
    assert by_trainer == by_hand == [expected]


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "16-true"])
def test_other_than_float32_weights_are_refused(tmp_path, tiny_data, precision):
    with pytest.raises(ConfigError, match=rf"^trainer.precision is '{precision}'; choose one of 32-true, [^\n]*$"):
        trainer(tmp_path, precision=precision).fit(vae_module(), datamodule=tiny_data())


def test_mixed_precision_trains(tmp_path, tiny_data):
    fitted = trainer(tmp_path, precision="bf16-mixed", max_epochs=1, limit_train_batches=2, limit_val_batches=1)
    fitted.fit(vae_module(), datamodule=tiny_data())
    assert fitted.callback_metrics["train/loss"].isfinite()
