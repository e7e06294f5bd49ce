"""Published reward files: what is read of names, weights, statistics and configurations, and what is refused."""

import json
import pickle

import numpy as np
import pytest
import torch

from lightning_realign.convert import convert
from lightning_realign.errors import CheckpointError, ConfigError, DataError, FeatureSpecError
from lightning_realign.evaluators import load_evaluator
from lightning_realign.guidance.reward import DualAlignmentReward
from lightning_realign.hashing import checkpoint_sha256
from lightning_realign.inference.judging import Judge, kinship
from lightning_realign.models.tmr import TMR
from lightning_realign.motion import load_skeleton
from lightning_realign.rewards import load_reward
from lightning_realign.rewards.realign import read_name
from lightning_realign.types import TextFeatures
from tests.rewards.published_rewards import (
    SMALL,
    SPM_NAME,
    hollow,
    spm_state,
    tmr_config,
    tmr_state,
    write_statistics,
    write_tmr,
)
from tests.tiny_models import use_hashed_text

NAME = SPM_NAME.format(data="H3D", mode="M1T0")
LENGTHS = torch.tensor([24, 17])


@pytest.fixture(scope="module")
def weights():
    return hollow(spm_state())


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A reward's file with weights that are not hollow."""
    path = tmp_path_factory.mktemp("full") / NAME
    torch.save({"state_dict": spm_state()}, path)
    return path


@pytest.fixture
def spm(tmp_path, weights):
    """Writes a reward's file under a name, its weights changed; or links one to the file given."""

    def write(name=NAME, source=None, **changes):
        path = write_statistics(tmp_path) / name
        state = {key: value for key, value in (weights | changes).items() if value is not None}
        if source is not None:
            path.hardlink_to(source)
        else:
            torch.save({"state_dict": state}, path)
        return path

    return write


@pytest.fixture
def tmr(tmp_path):
    return write_tmr(tmp_path, SMALL)


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
    bundle = load_reward(spm(), "realign")
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
    aware = load_reward(spm(source=full), "realign")
    plain = load_reward(spm(NAME.replace("M1T0", "M0T0"), full), "realign")
    told = load_reward(spm("reward.pth", full), "realign", step_aware=False)
    for bundle in (plain, told):
        network = bundle.network
        assert not network.step_aware and len(network.state_dict()) == 423
        first, second = (network.encode_motion(motions(), LENGTHS, t).mean for t in (None, torch.tensor([999, 3])))
        assert torch.equal(first, second)
    assert len(aware.network.state_dict()) == 427
    assert not torch.allclose(first, aware.network.encode_motion(motions(), LENGTHS, torch.zeros(2)).mean, atol=1e-3)
    with pytest.raises(CheckpointError, match=r"1 missing \('time_embedding.linear_1.bias'\)"):
        load_reward(spm(NAME.replace("M1T0", "M0T1"), **{"time_embedding.linear_1.bias": None}), "realign")


def test_a_published_text_encoder_in_the_file_is_left_out(spm):
    expected = load_reward(spm(), "realign").network.state_dict()
    extra = {"clip.0.auto_model.shared.weight": torch.zeros(3), "xlm.0.weight": torch.zeros(2)}
    found = load_reward(spm("with_text.pth", **extra), "realign").network.state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"final_layer.bias": None}, r"1 missing \('final_layer.bias'\)"),
        ({"clipped": torch.zeros(1)}, r"1 surplus \('clipped'\)"),
        ({"final_layer.bias": torch.zeros(3)}, r"1 of another shape \('final_layer.bias': \(3,\), needs \(263,\)\)"),
        ({"skel_embedding.weight": torch.zeros(256, 67)}, "reads 67 features, the published ones read 263 or 251"),
        ({"skel_embedding.weight": None}, "reads None features"),
        ({"text_encoder.norm.bias": torch.zeros(256)}, "'text_encoder.norm.bias' differ"),
    ],
)
def test_the_weights_are_loaded_strictly(spm, changes, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        load_reward(spm(**changes), "realign")
    assert "\n" not in str(caught.value)


def test_a_file_of_the_other_data_set_is_refused(spm):
    with pytest.raises(CheckpointError, match="is named for kit, but its weights read motions of humanml3d"):
        load_reward(spm(SPM_NAME.format(data="KIT", mode="M1T0")), "realign")


def test_statistics_are_the_data_sets(spm, tmp_path):
    path, other = spm(), tmp_path / "other"
    other.mkdir()
    write_statistics(other)
    np.save(other / "Mean.npy", np.arange(263.0))
    assert load_reward(path, "realign", other).normaliser.mean[7] == 7
    std = np.load(other / "Std.npy")
    std[-4:] /= 25
    np.save(other / "Std.npy", std)
    with pytest.raises(DataError, match="an evaluator's or a generator's statistics, give the data set's"):
        load_reward(path, "realign", other)
    np.save(other / "Std.npy", np.where(np.arange(263) == 3, 0.0, 1.0))
    with pytest.raises(DataError, match=r"other: Std\[3\] is 0"):
        load_reward(path, "realign", other)
    with pytest.raises(DataError, match=r"Mean\.npy"):
        load_reward(path, "realign", tmp_path / "nowhere")


def test_a_home_folder_is_found(spm, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    name = spm().name
    assert load_reward(f"~/{name}", "realign", "~").skeleton == "humanml3d"


def test_options_without_a_use_are_refused(spm, tmr):
    for family, options in (
        ("tmr", {"step_aware": True}),
        ("own", {"step_aware": False}),
        ("own", {"statistics": tmr}),
    ):
        with pytest.raises(ConfigError, match="leave it out"):
            load_reward(spm(), family, **options)
    with pytest.raises(ConfigError, match="family='mine' is unknown; use one of own, realign, tmr"):
        load_reward(spm(), "mine")


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
        load_reward(path if file == "spm" else tmr, "realign" if file == "spm" else "tmr")
    assert not (tmp_path / "run").exists()


def test_tmr_is_read_from_its_folder(tmr, tmp_path):
    bundle = load_reward(tmr, "tmr")
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
    assert load_reward(tmr, "tmr").normaliser.mean[0] == 2
    assert load_reward(tmr, "tmr", tmp_path).normaliser.mean[0] == 3


def test_tmr_with_python_objects_is_read_once_converted(tmr):
    expected = load_reward(tmr, "tmr").network.state_dict()
    file = tmr / "last_weights/text_encoder.pt"
    torch.save({**torch.load(file, weights_only=True), "note": np.float64(1)}, file)
    with pytest.raises(CheckpointError, match="lightning_realign convert"):
        load_reward(tmr, "tmr")
    convert(file, file.with_suffix(".safetensors"))
    found = load_reward(tmr, "tmr").network.state_dict()
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
        load_reward(tmr, "tmr")
    assert "\n" not in str(caught.value)


def test_tmrs_missing_or_changed_files_are_one_line(tmr, tmp_path):
    with pytest.raises(CheckpointError, match="no such folder: give the folder of a model that TMR published"):
        load_reward(tmp_path / "nowhere", "tmr")
    decoder = tmr / "last_weights/motion_decoder.pt"
    content = torch.load(decoder, weights_only=True)
    torch.save({**content, "final_layer.bias": torch.zeros(251)}, decoder)
    with pytest.raises(CheckpointError, match=r"motion_decoder.pt: .*'final_layer.bias': \(251,\), needs \(263,\)"):
        load_reward(tmr, "tmr")
    decoder.unlink()
    with pytest.raises(CheckpointError, match=r"motion_decoder.pt: no such"):
        load_reward(tmr, "tmr")


@pytest.mark.parametrize(("value", "message"), [([1.0], "holds no tensor"), (torch.ones(251), r"shape \(251,\)")])
def test_tmrs_statistics_must_fit(tmr, tmp_path, value, message):
    torch.save(value, tmp_path / "stats/humanml3d/guoh3dfeats/std.pt")
    with pytest.raises(DataError, match=message):
        load_reward(tmr, "tmr")


def test_published_rewards_judge(spm, full, tmr, tmp_path, monkeypatch):
    use_hashed_text(monkeypatch, tmp_path / "cache")
    features, captions = motions(), ["a person walks", "someone waves slowly"]
    for kind, path, family in (("tmr_published", tmr, "tmr"), ("realign_published", spm(source=full), "realign")):
        judge, bundle = load_evaluator(kind, path), load_reward(path, family)
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
        assert kinship(judge, bundle) == ("architecture",)
        with pytest.raises(ConfigError, match="it reads none; leave it out"):
            load_evaluator(kind, path, word_vectors=tmp_path)
        with pytest.raises(FeatureSpecError, match="but the motions are of 'kit'"):
            Judge(kind, str(path)).load(load_skeleton("kit"), None, "cpu")


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
