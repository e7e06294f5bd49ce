"""`--ckpt_path`: it never overrides the command line, and a fit goes on from it."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator, MPSAccelerator

from tests.helpers.cli_bench import TINY_REWARD, realign

CONFIG = "configs/reward/synthetic.yaml"
LAST = Path("runs/reward/synthetic/last.ckpt")


@pytest.fixture
def fitted(cli_bench, checkout):
    """The options of a tiny reward model's runs, once it has been fitted for an epoch."""
    options = ["--config", CONFIG, *cli_bench.options(CONFIG, "fit"), *TINY_REWARD]
    realign("fit", *options, "--model.init_args.noise.omega=0.25")
    return options


def test_stored_settings_never_override_the_command_line(fitted, cli_bench):
    options = ["--config", CONFIG, *cli_bench.options(CONFIG, "test"), *TINY_REWARD, "--ckpt_path", LAST]
    assert torch.load(LAST, weights_only=True)["hyper_parameters"]["noise"]["omega"] == 0.25
    run = realign("test", *options, "--model.init_args.noise.omega=0.9")
    assert run.model.noise.omega == run.model.hparams["noise"]["omega"] == 0.9
    assert realign("test", *options).model.noise.omega == 0.5


def test_guided_runs_take_their_weights_from_the_command_line(cli_bench, checkout):
    config = "configs/guided/synthetic.yaml"
    run = realign(
        "predict", "--config", config, *cli_bench.options(config, "predict"), "--model.init_args.guidance.mu=7"
    )
    assert run.model.guidance.mu == 7


def test_predict_keeps_no_motion_in_memory_unless_asked_to(cli_bench, checkout):
    config = "configs/guided/synthetic.yaml"
    options = ["--config", config, *cli_bench.options(config, "predict")]
    loop = realign("predict", *options).trainer.predict_loop
    assert not loop.return_predictions and not any(loop.predictions)
    loop = realign("predict", *options, "--return_predictions=true").trainer.predict_loop
    assert loop.return_predictions and any(loop.predictions)


def test_a_machine_whose_gpu_has_no_float64_computes_on_the_cpu(cli_bench, checkout, monkeypatch):
    monkeypatch.setattr(MPSAccelerator, "is_available", staticmethod(lambda: True))
    config = "configs/guided/synthetic.yaml"
    options = [*cli_bench.options(config, "predict"), "--trainer.accelerator=auto"]
    run = realign("predict", "--config", config, *options)
    assert isinstance(run.trainer.accelerator, CPUAccelerator)


def test_a_fit_resumes(fitted):
    before = torch.load(LAST, weights_only=True)
    assert (before["epoch"], before["global_step"]) == (0, 1)
    run = realign("fit", *fitted, "--trainer.max_epochs=2", "--ckpt_path", LAST)
    assert (run.trainer.current_epoch, run.trainer.global_step) == (2, 2)
    after = torch.load(LAST, weights_only=True)
    assert after["global_step"] == 2
    steps = [state["step"] for state in after["optimizer_states"][0]["state"].values()]
    assert {int(step) for step in steps} == {2}


def test_a_diffusion_checkpoint_resumes_without_the_file_of_its_vae(cli_bench, checkout):
    config = "configs/generator/mld_synthetic.yaml"
    options = ["--config", config, *cli_bench.options(config, "fit")]
    realign("fit", *options)
    last = Path("runs/mld/synthetic/last.ckpt")
    run = realign("fit", *options, "--model.init_args.vae=gone.ckpt", "--trainer.max_epochs=2", "--ckpt_path", last)
    assert run.trainer.global_step == 2


def test_null_switches_a_nested_setting_off(cli_bench, checkout):
    """Also after a configuration and an earlier option have set it."""
    config = "configs/guided/synthetic.yaml"
    options = [*cli_bench.options(config, "predict"), "--model.init_args.guidance.mu=0"]
    nulls = ["reward.path", "sampling.steps", "sampling.cfg_scale", "guidance.max_norm"]
    run = realign("predict", "--config", config, *options, *(f"--model.init_args.{name}=null" for name in nulls))
    assert run.model.reward_source.path is None and run.model.sampling.steps is None
    assert run.model.sampling.cfg_scale is None and run.model.guidance.max_norm == 0
