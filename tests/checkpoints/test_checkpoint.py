"""Checkpoints: round trips are bit-exact, and every file that does not fit gets one line and runs no code."""

import os
import pickle

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint

from lightning_realign.checkpoints.diffusion import diffusion_spec, load_diffusion
from lightning_realign.checkpoints.entry import SPEC_KEY, with_version
from lightning_realign.checkpoints.reward import load_reward, reward_spec
from lightning_realign.checkpoints.vae import load_vae, vae_spec
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.errors import CheckpointError
from lightning_realign.models import LatentDenoiser, LatentSpace, MotionVAE, RewardSpace, StepAwareRewardModel
from lightning_realign.motion.normaliser import Normaliser

SMALL = {"width": 8, "layers": 3, "heads": 2, "feedforward": 8, "max_tokens": 12}
D, E, S = 263, 6, 10
SCHEDULE = NoiseSchedule("linear", 1e-4, 0.02, 100)
LOADERS = {"reward": load_reward, "vae": load_vae, "diffusion": load_diffusion}


def prefixed(**modules):
    return {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}


def normaliser():
    result = Normaliser(D)
    result.set(torch.randn(D), torch.rand(D) + 0.5)
    return result


def content(kind):
    torch.manual_seed(0)
    names = {"skeleton": "humanml3d", "fingerprint": "abc"}
    vae = MotionVAE(D, **SMALL, latent_tokens=2, latent_size=4, patch=3)
    if kind == "reward":
        network = StepAwareRewardModel(D, E, **SMALL, patch=2)
        levels = {"omega": 0.25, "t_min": 2, "t_max": 90}
        spec = reward_spec(
            network, RewardSpace("motion", Normaliser(D)), SCHEDULE, text_encoder="all-MiniLM-L6-v2", **names, **levels
        )
        weights = prefixed(network=network, normaliser=normaliser())
    elif kind == "vae":
        spec, weights = vae_spec(vae, **names), prefixed(network=vae, normaliser=normaliser())
    else:
        denoiser = LatentDenoiser(2, 4, S, **SMALL, text_relu=False)
        latents = LatentSpace(vae)
        latents.statistics.set(torch.randn(2, 4), torch.rand(2, 4) + 0.5)
        spec = diffusion_spec(latents, denoiser, SCHEDULE, text_encoder="all-MiniLM-L6-v2", **names)
        weights = prefixed(latents=latents, denoiser=denoiser, normaliser=normaliser())
    return {"state_dict": weights, "epoch": 3, "optimizer_states": [], SPEC_KEY: spec}


@pytest.fixture(params=sorted(LOADERS))
def kind(request):
    return request.param


@pytest.fixture
def path(tmp_path):
    return tmp_path / "last.ckpt"


def refusal(kind, path):
    with pytest.raises(CheckpointError) as caught:
        LOADERS[kind](path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert "weights_only" not in message
    return message


def modules_of(bundle):
    return {name: value for name, value in vars(bundle).items() if isinstance(value, torch.nn.Module)}


def test_round_trip_is_exact_frozen_and_in_eval_mode(kind, path):
    saved = content(kind)
    torch.save(saved, path)
    bundle = LOADERS[kind](path)
    for name, module in modules_of(bundle).items():
        assert not any(part.training for part in module.modules())
        assert not any(parameter.requires_grad for parameter in module.parameters())
        for key, value in module.state_dict().items():
            assert torch.equal(value, saved["state_dict"][f"{name}.{key}"])
    assert bundle.skeleton == "humanml3d"
    assert bundle.fingerprint == "abc"


def test_reward_bundle(path):
    torch.save(content("reward"), path)
    bundle = load_reward(str(path))
    assert bundle.schedule == SCHEDULE
    assert bundle.text_encoder == "all-MiniLM-L6-v2"
    assert (bundle.network.patch, bundle.network.token_size) == (2, E)
    assert bundle.network.encode_motion(torch.zeros(1, 5, D), torch.tensor([5]), torch.tensor([1])).mean.shape == (1, 8)


def test_diffusion_bundle(path):
    saved = content("diffusion")
    torch.save(saved, path)
    bundle = load_diffusion(path)
    assert bundle.prediction == "epsilon"
    assert bundle.denoiser.architecture.text_relu is False
    for name, value in bundle.latents.statistics.state_dict().items():
        assert torch.equal(value, saved["state_dict"][f"latents.statistics.{name}"])


def test_entry_is_primitive(kind):
    def primitive(value):
        if isinstance(value, dict):
            return all(isinstance(key, str) and primitive(item) for key, item in value.items())
        return value is None or isinstance(value, (str, int, float, bool))

    assert primitive(content(kind)[SPEC_KEY])


def test_wrong_kind_names_both(kind, path):
    # A generator on latents holds its VAE, which is read from it.
    for other in sorted(LOADERS.keys() - {kind} - ({"diffusion"} if kind == "vae" else set())):
        torch.save(content(other), path)
        message = refusal(kind, path)
        assert repr(kind) in message
        assert repr(other) in message


def test_a_generator_holds_its_vae(tmp_path):
    torch.save(content("diffusion"), tmp_path / "generator.ckpt")
    bundle, generator = load_vae(tmp_path / "generator.ckpt"), load_diffusion(tmp_path / "generator.ckpt")
    ours, theirs = bundle.network.state_dict(), generator.latents.vae.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(bundle.normaliser.mean, generator.normaliser.mean)
    assert (bundle.skeleton, bundle.fingerprint) == (generator.skeleton, generator.fingerprint)


def test_missing_file_and_folder(kind, tmp_path):
    assert "no such checkpoint" in refusal(kind, tmp_path / "none.ckpt")
    assert "no such checkpoint" in refusal(kind, tmp_path)


class Payload:
    """Creates a folder when it is unpickled by a reader that runs what it reads."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("raw", [True, False])
def test_payload_never_runs(kind, path, tmp_path, raw):
    trap = tmp_path / "trap"
    poisoned = content(kind) | {"callbacks": Payload(trap)}
    if raw:
        path.write_bytes(pickle.dumps(poisoned["callbacks"]))
    else:
        torch.save(poisoned, path)
    message = refusal(kind, path)
    assert not trap.exists()
    if not raw:
        assert "mkdir" in message
    torch.load(path, weights_only=False) if not raw else pickle.loads(path.read_bytes())
    assert trap.exists(), "the payload is armed, so the test above meant something"


def test_damaged_files(path):
    torch.save(content("vae"), path)
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for cut in (0, 1, 100, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:cut])
        refusal("vae", path)
    for _ in range(30):
        path.write_bytes(bytes(torch.randint(0, 256, (200,), generator=generator).tolist()))
        refusal("vae", path)


def test_flipped_bytes_give_one_line_or_load(path):
    torch.save(content("vae"), path)
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for position in torch.randint(0, len(whole), (60,), generator=generator).tolist():
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            load_vae(path)
        except CheckpointError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("other", [{}, [1, 2], 5, {"state_dict": {}}, {SPEC_KEY: 3, "state_dict": {}}])
def test_files_of_another_origin(kind, path, other):
    torch.save(other, path)
    assert "no checkpoint of this project" in refusal(kind, path)


def test_missing_and_surplus_weights(kind, path):
    saved = content(kind)
    value = saved["state_dict"].pop("normaliser.mean")
    torch.save(saved, path)
    assert "1 missing ('normaliser.mean')" in refusal(kind, path)
    saved["state_dict"] |= {"normaliser.mean": value, "network.unknown": value, "zz": value}
    torch.save(saved, path)
    assert "2 surplus ('network.unknown', 'zz')" in refusal(kind, path)


def test_shape_mismatch(kind, path):
    saved = content(kind)
    saved["state_dict"]["normaliser.std"] = torch.ones(5)
    torch.save(saved, path)
    assert "1 of another shape ('normaliser.std': (5,)" in refusal(kind, path)


def test_weights_must_be_tensors(kind, path):
    torch.save(content(kind) | {"state_dict": {"normaliser.mean": "none"}}, path)
    assert "state_dict" in refusal(kind, path)


@pytest.mark.parametrize("name", ["num_features", "skeleton", "fingerprint"])
def test_missing_fields(kind, path, name):
    saved = content(kind)
    del saved[SPEC_KEY][name]
    torch.save(saved, path)
    assert repr(name) in refusal(kind, path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("architecture", {"depth": 3}, "architecture"),
        ("architecture", {"layers": 2}, "must be odd"),
        ("architecture", {"layers": 5}, "missing"),
        ("schedule", {"kind": "sigmoid"}, "sigmoid"),
        ("text_encoder", 7, "text_encoder"),
        ("num_features", 0, "num_features=0"),
        ("num_features", 251, "of another shape"),
    ],
)
def test_entries_that_do_not_fit(path, field, value, message):
    saved = content("reward")
    entry = saved[SPEC_KEY]
    entry[field] = entry[field] | value if isinstance(value, dict) else value
    torch.save(saved, path)
    assert message in refusal("reward", path)


def test_unknown_prediction(path):
    saved = content("diffusion")
    saved[SPEC_KEY]["prediction"] = "velocity"
    torch.save(saved, path)
    assert "'velocity'" in refusal("diffusion", path)


class TinyTraining(L.LightningModule):
    """The shape of a training module: its parts' names, and the entry it adds when a checkpoint is saved."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network, self.normaliser = MotionVAE(D, **SMALL), normaliser()

    def training_step(self, batch):
        lengths = torch.tensor([5])
        return self.network.decode(self.network.encode(batch, lengths).mean, lengths, 5).square().mean()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 0.05)

    def on_save_checkpoint(self, checkpoint):
        checkpoint[SPEC_KEY] = vae_spec(self.network, skeleton="humanml3d", fingerprint="abc")


@pytest.mark.parametrize("averaged", [False, True])
def test_lightning_checkpoint_loads_its_final_or_averaged_weights(tmp_path, averaged):
    module = TinyTraining()
    saving = ModelCheckpoint(tmp_path, filename="last", every_n_train_steps=3)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=3,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[saving] + ([EMAWeightAveraging(decay=0.5)] if averaged else []),
    )
    trainer.fit(module, torch.utils.data.DataLoader(torch.randn(3, 5, D)))
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    loaded = load_vae(tmp_path / "last.ckpt").network.state_dict()
    raw = saved["current_model_state" if averaged else "state_dict"]
    assert all(torch.equal(value, saved["state_dict"][f"network.{key}"]) for key, value in loaded.items())
    assert torch.equal(loaded["skel_embedding.weight"], raw["network.skel_embedding.weight"]) is not averaged


def test_the_version_before_is_read_and_a_later_one_is_not(kind, tmp_path):
    before = content(kind)
    assert "format_version" not in before[SPEC_KEY]  # version 1 states none
    torch.save(before, tmp_path / "one.ckpt")
    torch.save({**before, SPEC_KEY: with_version(before[SPEC_KEY])}, tmp_path / "two.ckpt")
    one, two = (LOADERS[kind](tmp_path / f"{name}.ckpt") for name in ("one", "two"))
    states = [{name: module.state_dict() for name, module in bundle.modules.items()} for bundle in (one, two)]
    for name, state in states[0].items():
        assert all(torch.equal(value, states[1][name][key]) for key, value in state.items())
    torch.save({**before, SPEC_KEY: {**before[SPEC_KEY], "format_version": 3}}, tmp_path / "three.ckpt")
    with pytest.raises(CheckpointError, match=r"three\.ckpt: format_version is 3, this version reads 1 to 2"):
        LOADERS[kind](tmp_path / "three.ckpt")
