"""The index of x^c against brute force, and its cache."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lightning_realign.checkpoints.reward import load_reward
from lightning_realign.data import HumanML3DDataModule
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.rewards import index as retrieval
from lightning_realign.rewards.index import RewardIndex, build_index, load_or_build_index, reward_fingerprint
from tests.helpers.support import write_tiny_dataset
from tests.helpers.tiny_models import dataset_normaliser, write_reward

SIZE = 9


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A reward and a data module of nine training motions."""
    folder = tmp_path_factory.mktemp("index")
    data = write_tiny_dataset(folder / "data", train=SIZE, val=2, test=2)
    bundle = load_reward(write_reward(folder / "reward.ckpt", dataset_normaliser(data, "humanml3d")))
    return bundle, HumanML3DDataModule(data, batch_size=4)


def brute_force(bundle, datamodule, text) -> list[tuple[str, float]]:
    """For each text the id and reward of the best motion, every motion embedded alone and in float64."""
    network, normaliser = bundle.network.double(), bundle.normaliser
    rewards: dict[str, torch.Tensor] = {}
    for batch in datamodule.gallery_dataloader():
        for sample, motion, length in zip(batch.ids, batch.motion, batch.lengths, strict=True):
            clean = normaliser.normalise(motion[None, :length]).double()
            latent = network.encode_motion(clean, length[None], torch.zeros(1, dtype=torch.int64)).mean
            rewards[sample] = torch.nn.functional.cosine_similarity(latent, text.double(), dim=-1)
    network.float()
    table = torch.stack(list(rewards.values()), dim=1)
    return [(list(rewards)[int(row.argmax())], float(row.max())) for row in table]


def test_query_is_the_argmax_over_the_training_split(material):
    bundle, datamodule = material
    index = build_index(bundle, datamodule.gallery_dataloader(), progress=False)
    text = torch.randn(16, index.latents.shape[1], generator=torch.Generator().manual_seed(0))
    matches = index.query(text)
    for row, (sample, reward) in enumerate(brute_force(bundle, datamodule, text)):
        assert matches.ids[row] == sample
        assert float(matches.rewards[row]) == pytest.approx(reward, abs=1e-5)
        torch.testing.assert_close(matches.latents[row], index.latents[index.ids.index(sample)])
    assert len(set(matches.ids)) > 1
    assert len(index) == SIZE


def test_second_build_reads_the_file(material, tmp_path, monkeypatch):
    bundle, datamodule = material
    first = load_or_build_index(bundle, datamodule, tmp_path, progress=False)

    def refuse(*args, **kwargs):
        raise AssertionError("built again")

    monkeypatch.setattr(retrieval, "build_index", refuse)
    second = load_or_build_index(bundle, datamodule, tmp_path, progress=False)
    assert (second.ids, second.fingerprint) == (first.ids, first.fingerprint)
    assert torch.equal(second.latents, first.latents)
    with torch.no_grad():
        weights = {name: value + 0.01 for name, value in bundle.network.state_dict().items()}
    other = type(bundle.network)(263, bundle.network.token_size, **vars(bundle.network.architecture))
    other.load_state_dict(weights)
    with pytest.raises(AssertionError, match="built again"):
        load_or_build_index(replace(bundle, network=other), datamodule, tmp_path, progress=False)


def test_the_architecture_is_part_of_the_fingerprint(material):
    """Heads change the embeddings, but no weight's name or shape."""
    bundle, _ = material
    sizes = vars(bundle.network.architecture)
    other = type(bundle.network)(263, bundle.network.token_size, **{**sizes, "heads": 2 * sizes["heads"]})
    other.load_state_dict(bundle.network.state_dict())
    assert reward_fingerprint(replace(bundle, network=other)) != reward_fingerprint(bundle)


def test_a_damaged_file_is_made_again(material, tmp_path):
    bundle, datamodule = material
    first = load_or_build_index(bundle, datamodule, tmp_path, progress=False)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:50])
    again = load_or_build_index(bundle, datamodule, tmp_path, progress=False)
    assert torch.equal(again.latents, first.latents)
    assert RewardIndex.load(path, reward_fingerprint(bundle)).ids == first.ids


def test_batches_and_repetitions_change_nothing(material):
    bundle, datamodule = material
    batches = list(datamodule.gallery_dataloader())
    first, second = build_index(bundle, batches, progress=False), build_index(bundle, batches * 2, progress=False)
    assert first.ids == second.ids
    assert torch.equal(first.latents, second.latents)


def test_wrong_indexes_are_refused(material, tmp_path):
    bundle, _ = material
    with pytest.raises(DataError, match="yields no motion"):
        build_index(bundle, [], progress=False)
    with pytest.raises(DataError, match="ids for latents"):
        RewardIndex(torch.zeros(2, 3), ("a",), "x")
    path = tmp_path / "index.safetensors"
    RewardIndex(torch.zeros(1, 3), ("a",), "x").save(path)
    with pytest.raises(ConfigError, match="index of reward x, but the reward is y"):
        RewardIndex.load(path, "y")
    with pytest.raises(DataError, match="no such retrieval index"):
        RewardIndex.load(tmp_path / "none", "y")
