"""The published rewards' networks, and the guidance by them, against the public implementations' numbers."""

import pytest
import torch

from lightning_realign.models import MotionVAE
from lightning_realign.rewards import read_reward
from lightning_realign.rewards.reward import DualAlignmentReward, reward_gradient
from lightning_realign.types import TextFeatures
from tests.helpers.fixed_weights import fixed_input, fixed_state, golden, relative_error
from tests.helpers.published_rewards import GOLDEN, SIZES, SPM_NAME, spm_state, write_statistics, write_tmr

LENGTHS, TEXT_LENGTHS = torch.tensor([24, 17]), torch.tensor([9, 5])
DTYPES = {"float32": (torch.float32, 1e-5), "float64": (torch.float64, 1e-10)}
# What the reference differentiates: 1.5 cos(text, motion) + 0.5 cos(closest, motion), motions at scheduler index 481.
MU, ETA, INDEX, SCALE = 1.5, 0.5, 481, 2.5


@pytest.fixture(scope="module", params=["humanml3d", "kit"])
def spm(request, tmp_path_factory):
    """A published step-aware reward, its feature size and its golden numbers."""
    features, data = {"humanml3d": (263, "H3D"), "kit": (251, "KIT")}[request.param]
    folder = write_statistics(tmp_path_factory.mktemp("spm"), features)
    path = folder / SPM_NAME.format(data=data, mode="M1T0")
    torch.save({"state_dict": spm_state(features)}, path)
    return read_reward(path, "realign"), features, golden(GOLDEN / f"spm_{request.param}.json"), path


@pytest.fixture(scope="module")
def tmr(tmp_path_factory):
    return read_reward(write_tmr(tmp_path_factory.mktemp("tmr"), SIZES), "tmr"), golden(GOLDEN / "tmr.json")


def errors(found, numbers):
    return {name: relative_error(value, numbers[name]) for name, value in found.items()}


@torch.no_grad()
def encodings(network, motion, t):
    encoded = network.encode_motion(motion, LENGTHS, t)
    return encoded.mean, encoded.logvar


@pytest.mark.parametrize("precision", DTYPES)
def test_the_step_aware_reward_is_the_published_network(spm, precision, tmp_path):
    bundle, features, numbers, path = spm
    dtype, tolerance = DTYPES[precision]
    network = bundle.to(dtype=dtype).network
    motion, text = fixed_input(f"spm motion {features}", 2, 24, features), fixed_input("spm text", 2, 9, 1024)
    motion, text = motion.to(dtype), text.to(dtype)
    found = {}
    for name, t in (("step", [0, 741]), ("last", [999, 1])):
        found[f"motion_{name}_mean"], found[f"motion_{name}_logvar"] = encodings(network, motion, torch.tensor(t))
    plain = write_statistics(tmp_path, features) / path.name.replace("M1T0", "M0T0")
    plain.hardlink_to(path)
    without = read_reward(plain, "realign").to(dtype=dtype).network
    found["motion_plain_mean"], found["motion_plain_logvar"] = encodings(without, motion, torch.tensor([0, 741]))
    with torch.no_grad():
        encoded = network.encode_text(text, TEXT_LENGTHS)
        latent = fixed_input("spm latent", 1, 2, 256)[0].to(dtype)
        found |= {
            "text_mean": encoded.mean,
            "text_logvar": encoded.logvar,
            "decoded": network.decode(latent, LENGTHS, 24),
        }
    assert max(errors(found, numbers[precision]).values()) < tolerance, errors(found, numbers[precision])


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("layout", ["motion", "mdm", "latent"])
@pytest.mark.parametrize("spm", ["humanml3d"], indirect=True)
def test_guidance_is_the_published_formula_summed_over_the_batch(spm, layout, precision):
    bundle, _, numbers, _ = spm
    dtype, tolerance = DTYPES[precision]
    text = TextFeatures(fixed_input("spm text", 2, 9, 1024), TEXT_LENGTHS, torch.zeros(2, 768))
    guide = DualAlignmentReward(bundle, encode=lambda captions: text).to(dtype=dtype)
    closest = fixed_input("spm closest 263", 2, 20, 263).to(dtype)
    # From normalised motions to the data set's units, which is what `embed` takes.
    references = bundle.embed(bundle.normaliser.denormalise(closest), torch.tensor([20, 12]))
    prepared = guide.prepare(["one", "other"], references, mu=MU, eta=ETA)
    alpha_bar = float(bundle.schedule.alpha_bar[INDEX + 1])

    motion = fixed_input("spm motion 263", 2, 24, 263).to(dtype)
    if layout == "motion":
        state, to_motion = motion, lambda x: x
    elif layout == "mdm":
        state, to_motion = motion.transpose(1, 2)[:, :, None], lambda x: x[:, :, 0].transpose(1, 2)
    else:
        vae = MotionVAE(263)
        vae.load_state_dict(fixed_state({key: tuple(value.shape) for key, value in vae.state_dict().items()}))
        vae = vae.to(dtype).eval().requires_grad_(False)
        state = fixed_input("spm guided latent", 1, 2, 256).to(dtype)[0][:, None]
        to_motion = lambda z: vae.decode(z, LENGTHS, 24)  # noqa: E731
    gradient, rewards = reward_gradient(lambda x: prepared(to_motion(x), LENGTHS, alpha_bar), state)
    if layout == "latent":
        gradient, state = gradient.transpose(0, 1), state.transpose(0, 1)
    found = {
        f"{layout}_reward": rewards,
        f"{layout}_gradient": gradient.contiguous(),
        f"{layout}_guided": (state + SCALE * gradient).contiguous(),
    }
    assert max(errors(found, numbers[precision]).values()) < tolerance, errors(found, numbers[precision])


# Its position table is computed in float32, as published, so that float64 is only as exact as that.
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("float64", 1e-6)])
def test_tmr_is_the_published_network(tmr, precision, tolerance):
    bundle, numbers = tmr
    dtype = DTYPES[precision][0]
    network = bundle.to(dtype=dtype).network
    motion, text = fixed_input("tmr motion", 2, 24, 263).to(dtype), fixed_input("tmr text", 2, 9, 768).to(dtype)
    found = {}
    with torch.no_grad():
        found["motion_mean"], found["motion_logvar"] = encodings(network, motion, None)
        long = network.encode_motion(fixed_input("tmr long", 1, 199, 263).to(dtype), torch.tensor([199]))
        words = network.encode_text(text, TEXT_LENGTHS)
        found |= {"long_mean": long.mean, "long_logvar": long.logvar}
        found |= {"text_mean": words.mean, "text_logvar": words.logvar}
        found["decoded"] = network.decode(fixed_input("tmr latent", 2, 256).to(dtype), LENGTHS, 24)
    captions = TextFeatures(text, TEXT_LENGTHS, torch.zeros(2, 768))
    guide = DualAlignmentReward(bundle, encode=lambda captions_: captions)
    prepared = guide.prepare(["one", "other"], None, mu=1.0, eta=0.0)
    for alpha_bar in (1.0, 0.2):  # it knows no noise level
        gradient, rewards = reward_gradient(lambda x, level=alpha_bar: prepared(x, LENGTHS, level), motion)
        found |= {"reward": rewards, "gradient": gradient}
        assert max(errors(found, numbers[precision]).values()) < tolerance, errors(found, numbers[precision])
