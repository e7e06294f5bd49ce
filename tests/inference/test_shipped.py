"""The weights that come with the package: whole, found by name, and honest about what they know."""

import json
import shutil

import pytest

from lightning_realign import Pipeline
from lightning_realign.checkpoints.evaluator import load_evaluator_bundle
from lightning_realign.checkpoints.reward import load_reward
from lightning_realign.checkpoints.vae import load_vae
from lightning_realign.errors import CheckpointError
from lightning_realign.files import shipped_weights as shipped
from lightning_realign.files.hashing import file_sha256

FOLDER = shipped.WEIGHTS_FOLDER / "synthetic"
MODELS = ("generator", "guo", "reward", "tmr")


def test_the_manifest_has_every_file_and_its_digest():
    files = shipped.manifest()["files"]
    there = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()} - {"manifest.json"}
    assert (
        there == files.keys() == {f"{m}/{f}" for m in MODELS for f in ("config.json", "model.safetensors", "README.md")}
    )
    assert all(file_sha256(FOLDER / name) == digest for name, digest in files.items())
    assert sum((FOLDER / name).stat().st_size for name in files) < 25 * 2**20


def test_names_find_them_and_existing_paths_come_first(tmp_path, monkeypatch):
    assert load_vae("synthetic/generator").skeleton == load_reward("synthetic/reward").skeleton == "humanml3d"
    assert load_evaluator_bundle("synthetic/guo").skeleton == "humanml3d"
    with pytest.raises(CheckpointError, match="synthetic/vea: no such model comes with the package; it has synth"):
        load_vae("synthetic/vea")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "synthetic/tmr").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="a folder needs"):
        load_reward("synthetic/tmr")


def test_a_damaged_file_is_noticed(tmp_path, monkeypatch):
    shutil.copytree(FOLDER, tmp_path / "synthetic")
    weights = tmp_path / "synthetic/guo/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-7] ^= 1
    weights.write_bytes(content)
    monkeypatch.setattr(shipped, "WEIGHTS_FOLDER", tmp_path)
    shipped._check.cache_clear()
    with pytest.raises(CheckpointError, match="is missing or damaged: install the package again"):
        load_evaluator_bundle("synthetic/guo")
    shipped._check.cache_clear()


def test_judges_share_nothing_with_the_reward():
    reward = load_reward("synthetic/reward")
    names = [name for name, _ in reward.network.named_parameters()]
    judge = dict(load_reward("synthetic/tmr").network.named_parameters())
    same = [n for n in names if n in judge and judge[n].shape == reward.network.get_parameter(n).shape]
    equal = [n for n in same if judge[n].std() > 0 and judge[n].equal(reward.network.get_parameter(n))]
    assert same and not equal


def test_synthetic_is_a_pipeline_with_its_reward(caplog):
    pipeline = Pipeline.from_pretrained("synthetic", device="cpu")
    assert pipeline.reward is not None
    (motion,) = pipeline.generate("a person waves with the left hand", seconds=2.0)
    assert motion.joints.isfinite().all()
    assert "never met" not in caplog.text
    pipeline.generate("a person juggles quickly", seconds=2.0)
    assert "never met 'juggles'; they know walking in four directions" in caplog.text


def test_words_of_the_captions_are_known():
    assert json.loads((FOLDER / "manifest.json").read_text())["words"] == shipped.manifest()["words"]
    assert shipped.unknown_words("A man walks sideways to the right, then JUGGLES a ball.") == ["juggles", "ball"]
