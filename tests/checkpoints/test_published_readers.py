"""What readers of published files share: weights that are no numbers, sizes that build no network, options."""

from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_realign.checkpoints.published import channels_read, numbered, read_options, skeleton_of_size
from lightning_realign.errors import CheckpointError
from lightning_realign.files.weights import load_strictly
from lightning_realign.generators import load_generator
from tests.generators.test_motiondiffuse import fake_files
from tests.helpers.every_kind import LOADERS, write
from tests.helpers.public_mdm import public_file
from tests.helpers.published_mardm import write_mardm
from tests.helpers.published_momask import NAMES, write_momask
from tests.helpers.published_remodiffuse import write_remodiffuse


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e300])
def test_weights_that_are_no_numbers_are_refused(value):
    """The last is infinite in the network's float32."""
    network = nn.BatchNorm1d(4).train()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    weights = {key: torch.zeros(tensor.shape, dtype=torch.float64) for key, tensor in before.items()}
    weights["running_mean"][1] = weights["running_var"][3] = value
    with pytest.raises(CheckpointError, match=r"^a\.pt: 'running_mean' has NaN or infinite entries") as caught:
        load_strictly(network, weights, "a.pt")
    assert "\n" not in str(caught.value)
    assert network.training and all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    load_strictly(network, weights | {"running_mean": torch.ones(4), "running_var": torch.ones(4)}, "a.pt")
    assert network.running_mean.tolist() == [1, 1, 1, 1]
    left_out = {**nn.Linear(1, 1).state_dict(), "old.a": weights["running_var"]}
    load_strictly(nn.Linear(1, 1), left_out, "a.pt", ignored=["old."])


@pytest.mark.parametrize("kind", LOADERS)
def test_own_checkpoints_of_a_diverged_training_are_refused(kind, tmp_path):
    path = write(tmp_path / "last.ckpt", kind)
    content = torch.load(path, weights_only=True)
    key = next(key for key, value in content["state_dict"].items() if value.is_floating_point())
    content["state_dict"][key] = torch.full_like(content["state_dict"][key], torch.nan)
    torch.save(content, path)
    prefix, _, rest = key.partition(".")
    with pytest.raises(CheckpointError) as caught:
        LOADERS[kind](path)
    assert str(caught.value).startswith(f"{path}: {prefix}: {rest!r} has NaN or infinite entries")


def mdm(folder: Path, **changes: torch.Tensor) -> Path:
    path = public_file(folder, "encoder", latent_dim=63)
    torch.save(torch.load(path, weights_only=True) | changes, path)
    return path


def other_file(model: Path, path: Path, entry: str, **changes: torch.Tensor) -> Path:
    """Changes weights of a file; returns the model's path."""
    content = torch.load(path, weights_only=True)
    content[entry] |= changes
    torch.save(content, path)
    return model


def momask(folder: Path, **changes: torch.Tensor) -> Path:
    return other_file(write_momask(folder), folder / NAMES["masked"] / "model/latest.tar", "t2m_transformer", **changes)


def mardm(folder: Path, **changes: torch.Tensor) -> Path:
    model = write_mardm(folder)
    return other_file(model, model / "model/latest.tar", "ema_mardm", **changes)


WRITERS = {"mdm": mdm, "motiondiffuse": fake_files, "remodiffuse": write_remodiffuse, "momask": momask, "mardm": mardm}


@pytest.mark.parametrize(
    ("family", "key", "shape", "message"),
    [
        ("mdm", "input_process.poseEmbedding.weight", (63, 263), "width=63"),
        ("mdm", "input_process.poseEmbedding.weight", (0, 263), "width=0: must be at least 1"),
        ("motiondiffuse", "sequence_embedding", (196, 63), "width=63"),
        ("motiondiffuse", "sequence_embedding", (0, 64), "max_frames=0: must be at least 1"),
        ("remodiffuse", "model.sequence_embedding", (24, 63), "width=63"),
        ("remodiffuse", "model.sequence_embedding", (0, 64), "max_frames=0: must be at least 1"),
        ("momask", "cond_emb.weight", (63, 512), "width=63"),
        ("mardm", "cond_emb.weight", (63, 512), "width=63"),
    ],
)
def test_sizes_that_build_no_network_name_the_file(family, key, shape, message, tmp_path):
    path = WRITERS[family](tmp_path, **{key: torch.zeros(shape)})
    if family == "mdm":
        (tmp_path / "args.json").write_text('{"dataset": "humanml", "arch": "trans_enc"}')
    with pytest.raises(CheckpointError, match=rf"\.(tar|pth|pt): no network has the sizes .*{message}") as caught:
        load_generator(path, family, tmp_path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_the_skeleton_is_that_of_the_size():
    assert [skeleton_of_size(size, "a.pt", "give one").name for size in (263, 251)] == ["humanml3d", "kit"]
    assert skeleton_of_size(21, "a.pt", "give one", lambda skeleton: skeleton.num_joints).name == "kit"
    with pytest.raises(CheckpointError, match=r"a\.pt: its motions have 9 features, .* 263 .*251 \(kit\): give one"):
        skeleton_of_size(9, "a.pt", "give one")
    with pytest.raises(CheckpointError, match=r"a\.pt: holds no network that reads motions: give one"):
        skeleton_of_size(None, "a.pt", "give one")


def test_what_weights_tell():
    weights = {f"block.{row}.end.weight": torch.zeros(2, 3 + row) for row in range(11)}
    weights |= {"block.x.end.weight": torch.zeros(1), "block.1.end.bias": torch.zeros(1)}
    assert numbered(weights, "block.", ".end.weight") == 11
    assert channels_read(weights, "block.4.end") == 7
    assert channels_read(weights, "block.x.end") is channels_read(weights, "block") is None


def test_options_are_the_lines_with_a_colon(tmp_path):
    assert read_options(tmp_path / "opt.txt") == {}
    (tmp_path / "opt.txt").write_text("--- Options ---\nname: a: b\n no_eff : False\n--- End ---\n")
    found = read_options(tmp_path / "opt.txt")
    assert (found["name"], found["no_eff"]) == ("a: b", "False")
