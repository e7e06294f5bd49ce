"""Files that are no checkpoints are told apart, and weights that do not fit are reported."""

import pytest
import torch
from torch import nn

from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.files.weights import difference, load_strictly, read_content, read_plain, read_weights
from lightning_realign.generators.base import Recipe
from lightning_realign.rewards import read_reward
from tests.helpers.published_rewards import hollow, spm_state


def refusal(read, *arguments) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><title>Quota exceeded", b"\n  <html><body>"])
def test_a_web_page_is_told(tmp_path, page):
    path = tmp_path / "model.pt"
    path.write_bytes(page)
    assert "web page" in refusal(read_content, path) and "download it again" in refusal(read_content, path)
    assert "train it again" in refusal(read_plain, path)


def test_a_folder_and_a_missing_file_are_told_apart(tmp_path):
    assert "is a folder" in refusal(read_content, tmp_path)
    assert "docs/backbones.md" in refusal(read_content, tmp_path / "none.pt")
    assert "train one" in refusal(read_plain, tmp_path / "none.pt")


def test_a_file_with_objects_names_the_command_that_converts_it(tmp_path):
    torch.save({"state_dict": {}, "recipe": Recipe()}, tmp_path / "model.ckpt")
    message = refusal(read_content, tmp_path / "model.ckpt")
    assert f"convert {tmp_path / 'model.ckpt'} --out {tmp_path / 'model.safetensors'}" in message


def test_weights_under_the_first_entry_that_is_there(tmp_path):
    state = {"weight": torch.ones(2)}
    for content in ({"model_avg": state, "model": {}}, {"model": state}, state):
        torch.save(content, tmp_path / "model.pt")
        assert torch.equal(read_weights(tmp_path / "model.pt", "model_avg", "model")["weight"], state["weight"])
    torch.save({"epoch": 3}, tmp_path / "model.pt")
    assert "'model', but 'epoch'" in refusal(read_weights, tmp_path / "model.pt", "model")


def test_a_difference_counts_and_names():
    own = {name: torch.zeros(2) for name in "abcdef"}
    other = {"f": torch.zeros(3), "x": torch.zeros(1), "e": 7}
    report = difference(own, other)
    assert "4 missing ('a', 'b', 'c', ...)" in report
    assert "1 surplus ('x')" in report
    assert "'f': (3,), needs (2,)" in report and "'e': int, needs (2,)" in report
    assert difference(own, dict(own)) == ""


def test_a_module_is_left_alone_where_weights_do_not_fit():
    module = nn.Linear(2, 1)
    before = module.weight.clone()
    good = {"weight": torch.ones(1, 2), "bias": torch.ones(1)}
    for bad in (good | {"more": torch.ones(1)}, good | {"bias": torch.full((1,), torch.nan)}):
        assert "file: " in refusal(load_strictly, module, bad, "file")
    assert torch.equal(module.weight, before) and module.weight.requires_grad
    load_strictly(module, good | {"clip.x": torch.ones(3)}, "file", ignored=("clip.",))
    assert torch.equal(module.weight, good["weight"]) and not module.weight.requires_grad


def test_a_published_reward_asks_for_its_statistics(tmp_path):
    path = tmp_path / "SPM_H3D_Thr50_Temp1000_SAM1T0_E100.pth"
    torch.save({"state_dict": hollow(spm_state())}, path)
    with pytest.raises(ConfigError, match="set reward_statistics"):
        read_reward(path, "realign")


def test_a_recipe_has_steps():
    with pytest.raises(ConfigError, match="steps=0"):
        Recipe(steps=0)
