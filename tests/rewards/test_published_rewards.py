"""Published reward files: what is read of names, weights and statistics, and what is refused."""

import pickle

import numpy as np
import pytest
import torch

from lightning_realign.errors import CheckpointError, ConfigError, DataError, FeatureSpecError
from lightning_realign.evaluation.judges import load_evaluator
from lightning_realign.evaluation.judges.panel import load_judge
from lightning_realign.evaluation.judges.shared_with_reward import shared_with_reward
from lightning_realign.motion import load_skeleton
from lightning_realign.rewards import read_reward
from lightning_realign.rewards.realign import read_name
from lightning_realign.rewards.reward import DualAlignmentReward
from lightning_realign.settings.sources import JudgeSource
from lightning_realign.types import TextFeatures
from tests.helpers.published_rewards import NAME, SPM_NAME, write_statistics
from tests.helpers.tiny_models import use_hashed_text

LENGTHS = torch.tensor([24, 17])


def motions(seed=0):
    return torch.randn(2, 24, 263, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("SPM_H3D_Thr50_Temp1000_SAM1T0_E100.pth", None, (True, 0.5, 1000, "humanml3d")),
        ("SPM_KIT_Thr90_Temp500_SAM1T1_E5.pth", True, (True, 0.9, 500, "kit")),
        ("SPM_KIT_Thr500_Temp1000_SAM0T0_E5.safetensors", None, (False, 1.0, 1000, "kit")),
        ("SPM_H3D_Thr50_Temp1000_SAM0T1_E100.pth", False, (False, 0.5, 1000, "humanml3d")),
        # Another field than the name's own says nothing: not a folder, nor what merely looks like a mode.
        ("M0T0/SPM_H3D_Thr50_Temp1000_SAM1T0_E100.pth", None, (True, 0.5, 1000, "humanml3d")),
        ("M0T0/reward_M0T1.pth", None, (True, 0.5, 1000, None)),
        ("SPM_H3D_Thr50_Temp1000_SAM0T0_E100_copy.pth", None, (True, 0.5, 1000, None)),
        ("reward.pth", False, (False, 0.5, 1000, None)),
    ],
)
def test_a_file_name_tells_the_training(tmp_path, name, given, expected, caplog):
    training = read_name(tmp_path / name, given)
    assert ("taken for a step-aware reward" in caplog.text) == (expected[3] is None and given is None)
    assert (training.step_aware, training.omega, training.t_max, training.skeleton) == expected


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        (NAME, False, "step_aware is False, but the name says M1T0, which is step-aware"),
        (NAME.replace("M1T0", "M0T1"), True, "the name says M0T1, which is not step-aware"),
        (NAME.replace("Temp1000", "Temp2000"), None, "Temp2000, but there are 1 to 1000 noise levels"),
    ],
)
def test_a_name_that_contradicts_is_one_line(tmp_path, name, given, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_name(tmp_path / name, given)
    assert "\n" not in str(caught.value)


def test_step_tokens_count_from_the_first_noisy_level(spm, monkeypatch):
    bundle = read_reward(spm(), "realign")
    assert (bundle.omega, bundle.t_min, bundle.t_max, bundle.text_encoder) == (0.5, 1, 1000, "sentence-t5-large")
    seen = []
    original = bundle.network.encode_motion
    monkeypatch.setattr(
        bundle.network,
        "encode_motion",
        lambda motion, lengths, t: seen.append(t.tolist()) or original(motion, lengths, t),
    )
    text = TextFeatures(torch.zeros(2, 3, 1024), torch.tensor([3, 2]), torch.zeros(2, 768))
    reward = DualAlignmentReward(bundle, encode=lambda captions: text).prepare(["a", "b"], mu=1.0, eta=0.0)
    for step in (0, 1, 2, 482, 1000):
        reward(motions(), LENGTHS, float(bundle.schedule.alpha_bar[step]))
    assert seen == [[0, 0], [0, 0], [1, 1], [481, 481], [999, 999]]
    seen.clear()
    bundle.embed(motions(), LENGTHS)
    assert seen == [[0, 0]]


def test_a_reward_without_step_awareness_has_all_weights_in_its_file_and_no_token(spm, full):
    aware = read_reward(spm(source=full), "realign")
    plain = read_reward(spm(NAME.replace("M1T0", "M0T0"), full), "realign")
    told = read_reward(spm("reward.pth", full), "realign", step_aware=False)
    for bundle in (plain, told):
        network = bundle.network
        assert not network.step_aware and len(network.state_dict()) == 423
        first, second = (network.encode_motion(motions(), LENGTHS, t).mean for t in (None, torch.tensor([999, 3])))
        assert torch.equal(first, second)
    assert len(aware.network.state_dict()) == 427
    assert not torch.allclose(first, aware.network.encode_motion(motions(), LENGTHS, torch.zeros(2)).mean, atol=1e-3)
    with pytest.raises(CheckpointError, match=r"1 missing \('time_embedding.linear_1.bias'\)"):
        read_reward(spm(NAME.replace("M1T0", "M0T1"), **{"time_embedding.linear_1.bias": None}), "realign")


def test_a_published_text_encoder_in_the_file_is_left_out(spm):
    expected = read_reward(spm(), "realign").network.state_dict()
    extra = {"clip.0.auto_model.shared.weight": torch.zeros(3), "xlm.0.weight": torch.zeros(2)}
    found = read_reward(spm("with_text.pth", **extra), "realign").network.state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"final_layer.bias": None}, r"1 missing \('final_layer.bias'\)"),
        ({"clipped": torch.zeros(1)}, r"1 surplus \('clipped'\)"),
        ({"final_layer.bias": torch.zeros(3)}, r"1 of another shape \('final_layer.bias': \(3,\), needs \(263,\)\)"),
        (
            {"skel_embedding.weight": torch.zeros(256, 67)},
            "motions have 67 features, the published models' 263",
        ),
        ({"skel_embedding.weight": None}, "holds no network that reads motions: give a published SPM"),
        ({"text_encoder.norm.bias": torch.zeros(256)}, "'text_encoder.norm.bias' differ"),
    ],
)
def test_the_weights_are_loaded_strictly(spm, changes, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        read_reward(spm(**changes), "realign")
    assert "\n" not in str(caught.value)


def test_a_file_of_the_other_data_set_is_refused(spm):
    with pytest.raises(CheckpointError, match="is named for kit, but its weights read motions of humanml3d"):
        read_reward(spm(SPM_NAME.format(data="KIT", mode="M1T0")), "realign")


def test_statistics_are_the_data_sets(spm, tmp_path):
    path, other = spm(), tmp_path / "other"
    other.mkdir()
    write_statistics(other)
    np.save(other / "Mean.npy", np.arange(263.0))
    assert read_reward(path, "realign", other).normaliser.mean[7] == 7
    std = np.load(other / "Std.npy")
    std[-4:] /= 25
    np.save(other / "Std.npy", std)
    with pytest.raises(DataError, match="an evaluator's or a generator's statistics, give the data set's"):
        read_reward(path, "realign", other)
    np.save(other / "Std.npy", np.where(np.arange(263) == 3, 0.0, 1.0))
    with pytest.raises(DataError, match=r"other: Std\[3\] is 0"):
        read_reward(path, "realign", other)
    with pytest.raises(DataError, match=r"Mean\.npy"):
        read_reward(path, "realign", tmp_path / "nowhere")


def test_a_home_folder_is_found(spm, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    name = spm().name
    assert read_reward(f"~/{name}", "realign", "~").skeleton == "humanml3d"


def test_options_without_a_use_are_refused(spm, tmr):
    for family, options in (
        ("tmr", {"step_aware": True}),
        ("own", {"step_aware": False}),
        ("own", {"statistics": tmr}),
    ):
        with pytest.raises(ConfigError, match="leave it out"):
            read_reward(spm(), family, **options)
    with pytest.raises(ConfigError, match="family='mine' is unknown; use one of own, realign, tmr"):
        read_reward(spm(), "mine")


class Hostile:
    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('run').touch()",)


@pytest.mark.parametrize("file", ["spm", *("motion_encoder", "text_encoder", "motion_decoder"), "mean", "std"])
@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_a_hostile_file_is_refused_unread(spm, tmr, tmp_path, monkeypatch, file, form):
    monkeypatch.chdir(tmp_path)
    statistics = tmp_path / "stats/humanml3d/guoh3dfeats"
    path = spm() if file == "spm" else (statistics if file in ("mean", "std") else tmr / "last_weights") / f"{file}.pt"
    if form == "pickle":
        path.write_bytes(pickle.dumps(Hostile(), protocol=2))
    else:
        torch.save({"state_dict": Hostile()}, path)
    with pytest.raises(CheckpointError, match=r"refused unread|damaged"):
        read_reward(path if file == "spm" else tmr, "realign" if file == "spm" else "tmr")
    assert not (tmp_path / "run").exists()


def test_published_rewards_judge(spm, full, tmr, tmp_path, monkeypatch):
    use_hashed_text(monkeypatch, tmp_path / "cache")
    features, captions = motions(), ["a person walks", "someone waves slowly"]
    for kind, path, family in (("tmr_published", tmr, "tmr"), ("realign_published", spm(source=full), "realign")):
        judge, bundle = load_evaluator(kind, path), read_reward(path, family)
        assert (judge.name, judge.architecture, judge.skeleton) == (kind, "tmr", "humanml3d")
        assert judge.size == bundle.network.architecture.width
        with torch.no_grad():
            normalised = bundle.normaliser.normalise(features)
            latents = bundle.network.encode_motion(normalised, LENGTHS, torch.zeros(2, dtype=torch.long)).mean
        embedded, text = judge.embed_motion(features, LENGTHS), judge.embed_text(captions)
        assert torch.allclose(embedded, torch.nn.functional.normalize(latents, dim=-1), atol=1e-5)
        # The rest of the batch, and its padding, change nothing.
        alone = judge.embed_motion(features[1:, :17], LENGTHS[1:])
        assert torch.allclose(alone[0], embedded[1], atol=1e-5)
        assert torch.allclose(judge.embed_text(captions[1:])[0], text[1], atol=1e-5)
        # Nothing is known of the data that either was trained on.
        assert shared_with_reward(judge, bundle) == ("architecture",)
        with pytest.raises(ConfigError, match="it reads none; leave it out"):
            load_evaluator(kind, path, word_vectors=tmp_path)
        with pytest.raises(FeatureSpecError, match="the data set has 'kit'"):
            load_judge(JudgeSource(kind, str(path)), load_skeleton("kit"), None, "cpu")
