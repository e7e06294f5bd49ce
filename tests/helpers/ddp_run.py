"""A short reward training with draws that depend on the sample alone: run as one process, or as each of two ranks."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch

from lightning_realign.data import HumanML3DDataModule
from lightning_realign.diffusion.noise import sample_generator
from lightning_realign.models import RewardArchitecture
from lightning_realign.settings.training import RewardLossConfig
from lightning_realign.training import RewardTraining
from lightning_realign.training.noise import RewardDraws
from tests.helpers.training_runs import SIZES, reward_module, trainer

JOINT_BATCH = 8


class PerSample(RewardTraining):
    """Draws everything by id, so that it matters in no way which rank a sample is on; dropout is off."""

    def draw(self, batch, states):
        width = self.network.architecture.width
        draws = self.fixed_draws(batch, states)
        noises = [torch.randn(2, width, generator=sample_generator(99, sample_id)) for sample_id in batch.ids]
        motion, text = torch.stack(noises, dim=1)
        return RewardDraws(draws.t, draws.noise, motion, text)


class Record(L.Callback):
    """Gradients of the first step, the loss of every step."""

    def __init__(self):
        self.gradients = {}
        self.contrastive = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if not self.gradients:
            self.gradients = {name: p.grad.clone() for name, p in pl_module.named_parameters()}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.contrastive.append(trainer.callback_metrics["train/contrastive"].item())


@dataclass
class Result:
    gradients: dict[str, torch.Tensor]
    contrastive: list[float]
    figures: dict[str, float]


def make_module(cache):
    network = RewardArchitecture(**SIZES, patch=4, dropout=0.0)
    module = reward_module(cache, network=network, loss=RewardLossConfig(contrastive_weight=1.0))
    module.__class__ = PerSample
    return module


def make_data(root, ranks=1):
    return HumanML3DDataModule(Path(root), batch_size=JOINT_BATCH // ranks)


def run(root, cache, folder, ranks):
    """Train for an epoch; the result, and this process's rank."""
    record = Record()
    settings = {"strategy": "ddp", "devices": ranks} if ranks > 1 else {}
    fit = trainer(folder, max_epochs=1, callbacks=[record], **settings)
    fit.fit(make_module(cache), datamodule=make_data(root, ranks))
    figures = {name: value.item() for name, value in fit.callback_metrics.items() if name.startswith("val/")}
    return Result(record.gradients, record.contrastive, figures), fit.global_rank


def main():
    root, cache, folder = sys.argv[1:]
    result, rank = run(root, cache, folder, 2)
    torch.save(result.gradients, f"{folder}/{rank}.pt")
    Path(f"{folder}/{rank}.json").write_text(json.dumps({"contrastive": result.contrastive, "figures": result.figures}))


if __name__ == "__main__":
    main()
