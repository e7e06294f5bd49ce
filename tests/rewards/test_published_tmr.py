"""TMR's published folders: what is read of weights, statistics and configurations, and what is refused."""

import json

import numpy as np
import pytest
import torch

from lightning_realign.checkpoints.convert import convert
from lightning_realign.checkpoints.folder import checkpoint_sha256
from lightning_realign.errors import CheckpointError, DataError
from lightning_realign.models.tmr import TMR
from lightning_realign.rewards import read_reward
from tests.helpers.published_rewards import SMALL, tmr_config, tmr_state


def test_tmr_is_read_from_its_folder(tmr, tmp_path):
    bundle = read_reward(tmr, "tmr")
    assert (bundle.skeleton, bundle.text_encoder) == ("humanml3d", "distilbert-base-uncased")
    assert not bundle.network.step_aware
    assert not bundle.network.training and not any(weight.requires_grad for weight in bundle.network.parameters())
    expected, found = tmr_state(SMALL), bundle.network.state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)
    statistics = tmp_path / "stats/humanml3d/guoh3dfeats"
    assert torch.equal(bundle.normaliser.mean, torch.load(statistics / "mean.pt", weights_only=True))
    # Beside the weights, the statistics are found too; given ones come first.
    (tmr / "stats").mkdir()
    for folder, value in ((tmr / "stats", 2.0), (tmp_path, 3.0)):
        torch.save(torch.full((263,), value), folder / "mean.pt")
        torch.save(torch.ones(263), folder / "std.pt")
    assert read_reward(tmr, "tmr").normaliser.mean[0] == 2
    assert read_reward(tmr, "tmr", tmp_path).normaliser.mean[0] == 3


def test_tmr_with_python_objects_is_read_once_converted(tmr):
    expected = read_reward(tmr, "tmr").network.state_dict()
    file = tmr / "last_weights/text_encoder.pt"
    torch.save({**torch.load(file, weights_only=True), "note": np.float64(1)}, file)
    with pytest.raises(CheckpointError, match="lightning_realign convert"):
        read_reward(tmr, "tmr")
    convert(file, file.with_suffix(".safetensors"))
    found = read_reward(tmr, "tmr").network.state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def without(content, *names):
    *outer, last = names
    for name in outer:
        content = content[name]
    del content[last]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: without(c, "model"), "model is missing"),
        (lambda c: without(c, "model", "text_encoder"), "model.text_encoder is missing"),
        (lambda c: c["model"]["motion_encoder"].update(num_heads="4"), "motion_encoder.num_heads is '4'"),
        (lambda c: c["model"]["motion_encoder"].update(latent_dim=True), "motion_encoder.latent_dim is True"),
        (lambda c: c["model"]["motion_decoder"].update(num_layers=4), "motion_decoder.num_layers is 4, but 2"),
        (lambda c: c["model"]["text_encoder"].update(vae=False), "text_encoder.vae is not true"),
        (
            lambda c: [part.update(num_heads=3) for part in c["model"].values() if part is not True],
            "multiple of heads=3",
        ),
        (lambda c: c["data"]["text_to_token_emb"].update(modelname="bert"), "modelname is 'bert'"),
        (lambda c: without(c, "data", "motion_loader"), "data.motion_loader is missing"),
        (lambda c: c["data"]["motion_loader"].update(normalizer=None), "mean.pt and std.pt are not in"),
    ],
)
def test_another_configuration_of_tmr_is_one_line(tmr, change, message):
    content = tmr_config(SMALL)
    change(content)
    (tmr / "config.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as caught:
        read_reward(tmr, "tmr")
    assert "\n" not in str(caught.value)


def test_tmrs_missing_or_changed_files_are_one_line(tmr, tmp_path):
    with pytest.raises(CheckpointError, match="no such folder: give the folder of a model that TMR published"):
        read_reward(tmp_path / "nowhere", "tmr")
    decoder = tmr / "last_weights/motion_decoder.pt"
    content = torch.load(decoder, weights_only=True)
    torch.save({**content, "final_layer.bias": torch.zeros(251)}, decoder)
    with pytest.raises(CheckpointError, match=r"motion_decoder.pt: .*'final_layer.bias': \(251,\), needs \(263,\)"):
        read_reward(tmr, "tmr")
    decoder.unlink()
    with pytest.raises(CheckpointError, match=r"motion_decoder.pt: no such"):
        read_reward(tmr, "tmr")


@pytest.mark.parametrize(("value", "message"), [([1.0], "holds no tensor"), (torch.ones(251), r"shape \(251,\)")])
def test_tmrs_statistics_must_fit(tmr, tmp_path, value, message):
    torch.save(value, tmp_path / "stats/humanml3d/guoh3dfeats/std.pt")
    with pytest.raises(DataError, match=message):
        read_reward(tmr, "tmr")


def test_the_published_network_of_tmr_has_its_number_of_weights():
    network = TMR(263, 768)
    parts = (network.motion_encoder, network.text_encoder, network.motion_decoder)
    assert [len(part.state_dict()) for part in parts] == [75, 75, 110]


def test_a_folder_has_a_checksum_of_its_weights(tmr):
    before = checkpoint_sha256(tmr)
    (tmr / "contrastive_metrics.yaml").write_text("normal: 1")
    assert checkpoint_sha256(tmr) == before
    (tmr / "config.json").write_text("{}")
    assert checkpoint_sha256(tmr) != before
