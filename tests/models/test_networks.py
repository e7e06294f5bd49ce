"""Properties of the networks: padding and batching change nothing, gradients are right, t matters iff step-aware."""

import pytest
import torch
from torch import nn

from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.models import LatentDenoiser, MotionVAE, StepAwareRewardModel
from lightning_realign.models.blocks import SkipTransformer, sinusoid, skip_encoder

D, E, S = 7, 6, 10
SMALL = {"width": 16, "layers": 3, "heads": 2, "feedforward": 24, "dropout": 0.3}
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}


def reward_model(dtype=torch.float64, **changes):
    torch.manual_seed(1)
    return StepAwareRewardModel(D, E, **(SMALL | changes)).to(dtype).eval()


def vae_model(dtype=torch.float64, **changes):
    torch.manual_seed(2)
    return MotionVAE(D, **(SMALL | {"latent_tokens": 2, "latent_size": 5} | changes)).to(dtype).eval()


def motions(lengths, size, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(lengths), size, D, generator=generator, dtype=dtype), torch.tensor(lengths)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("patch", [1, 4])
@pytest.mark.parametrize("ours", [False, True])
def test_batch_equals_single(dtype, patch, ours):
    reward = reward_model(dtype, patch=patch, norm_first=ours)
    vae = vae_model(dtype, patch=patch, aligned=ours, norm_first=ours)
    motion, lengths = motions([13, 5, 8, 1], 13, dtype)
    t = torch.tensor([0, 500, 1000, 3])
    latent = vae.encode(motion, lengths).mean
    together = (reward.encode_motion(motion, lengths, t).mean, latent, vae.decode(latent, lengths, 13))
    for i, length in enumerate(lengths.tolist()):
        cut, own = motion[i : i + 1, :length], lengths[i : i + 1]
        alone = (
            reward.encode_motion(cut, own, t[i : i + 1]).mean,
            vae.encode(cut, own).mean,
            vae.decode(latent[i : i + 1], own, length),
        )
        for joint, single in zip(together, alone, strict=True):
            joint = joint[i : i + 1, :length] if joint.dim() == 3 and joint.shape[1] == 13 else joint[i : i + 1]
            torch.testing.assert_close(joint, single, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("patch", [1, 4])
@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("filling", [1e6, float("nan"), float("inf")])
def test_padding_influences_nothing(patch, ours, filling):
    reward = reward_model(patch=patch, norm_first=ours)
    vae = vae_model(patch=patch, aligned=ours, norm_first=ours)
    motion, lengths = motions([13, 5, 9], 13)
    dirty = motion.clone()
    for i, length in enumerate(lengths.tolist()):
        dirty[i, length:] = filling
    dirty.requires_grad_(True)
    t = torch.tensor([1, 2, 3])
    results = []
    for x in (motion, dirty):
        encoded, latent = reward.encode_motion(x, lengths, t), vae.encode(x, lengths)
        results.append((encoded.mean, encoded.logvar, latent.mean, latent.logvar))
    for clean, filled in zip(*results, strict=True):
        assert torch.equal(clean, filled)
    gradient = torch.autograd.grad(sum(value.sum() for value in results[1]), dirty)[0]
    for i, length in enumerate(lengths.tolist()):
        assert gradient[i, :length].abs().amin() > 0
        assert not gradient[i, length:].any()


def test_text_padding_influences_nothing():
    model = reward_model()
    tokens, lengths = torch.randn(3, 6, E, dtype=torch.float64), torch.tensor([6, 2, 4])
    clean = model.encode_text(tokens, lengths)
    for i, length in enumerate(lengths.tolist()):
        alone = model.encode_text(tokens[i : i + 1, :length], lengths[i : i + 1])
        torch.testing.assert_close(clean.mean[i : i + 1], alone.mean, rtol=0, atol=1e-12)
        tokens[i, length:] = float("nan")
    assert torch.equal(model.encode_text(tokens, lengths).mean, clean.mean)


@pytest.mark.parametrize("patch", [1, 4])
def test_decoded_motion_is_zero_beyond_its_length(patch):
    reward, vae = reward_model(patch=patch), vae_model(patch=patch)
    lengths = torch.tensor([10, 3, 7])
    for decoded in (
        reward.decode(torch.randn(3, 16, dtype=torch.float64), lengths, 11),
        vae.decode(torch.randn(3, 2, 5, dtype=torch.float64), lengths, 11),
    ):
        assert decoded.shape == (3, 11, D)
        for motion, length in zip(decoded, lengths.tolist(), strict=True):
            assert motion[:length].abs().amin() > 0
            assert not motion[length:].any()


@pytest.mark.parametrize("step_aware", [True, False])
def test_timestep_matters_exactly_when_step_aware(step_aware):
    model = reward_model(step_aware=step_aware)
    motion, lengths = motions([6, 6], 6)
    first = model.encode_motion(motion, lengths, torch.tensor([0, 0])).mean
    second = model.encode_motion(motion, lengths, torch.tensor([0, 700])).mean
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1]) is not step_aware
    if not step_aware:
        assert torch.equal(first, model.encode_motion(motion, lengths, None).mean)


def test_step_aware_model_needs_a_timestep():
    motion, lengths = motions([6], 6)
    with pytest.raises(ConfigError, match="t=None"):
        reward_model().encode_motion(motion, lengths, None)


@pytest.mark.parametrize("patch", [1, 4])
def test_reward_gradient_agrees_with_finite_differences(patch):
    model = reward_model(patch=patch)
    motion, lengths = motions([6, 5], 6)
    text = torch.randn(2, 16, dtype=torch.float64)
    t = torch.tensor([30, 0])

    def reward(x):
        return model.similarity(model.encode_motion(x, lengths, t).mean, text)

    assert torch.autograd.gradcheck(reward, motion.requires_grad_(True), eps=1e-6, atol=1e-7)


def test_decoder_gradient_agrees_with_finite_differences():
    model = vae_model()
    latent = torch.randn(1, 2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: model.decode(z, torch.tensor([4]), 5), latent, eps=1e-6, atol=1e-7)


def test_numbers_do_not_depend_on_the_gradient_mode():
    model = reward_model(torch.float32).requires_grad_(False)
    motion, lengths = motions([9, 4], 9, torch.float32)
    t = torch.tensor([5, 6])
    with torch.enable_grad():
        tracked = model.encode_motion(motion.clone().requires_grad_(True), lengths, t).mean
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.equal(model.encode_motion(motion, lengths, t).mean, tracked)


def test_dropout_acts_in_training_only():
    motion, lengths = motions([9], 9)
    model = reward_model()
    t = torch.tensor([5])
    assert torch.equal(*(model.encode_motion(motion, lengths, t).mean for _ in range(2)))
    model.train()
    assert not torch.equal(*(model.encode_motion(motion, lengths, t).mean for _ in range(2)))


def test_shared_norm_collects_both_gradients():
    model = reward_model()
    motion, lengths = motions([6], 6)
    tokens = torch.randn(1, 3, E, dtype=torch.float64)
    norm = model.motion_encoder.norm.weight

    def gradient(loss):
        return torch.autograd.grad(loss, norm)[0]

    def losses():
        return (
            model.encode_motion(motion, lengths, torch.tensor([1])).mean.square().sum(),
            model.encode_text(tokens, torch.tensor([3])).mean.square().sum(),
        )

    separate = [gradient(loss) for loss in losses()]
    torch.testing.assert_close(gradient(sum(losses())), separate[0] + separate[1])


def test_similarity_is_the_cosine():
    a, b = torch.randn(2, 5, 16, dtype=torch.float64)
    expected = torch.tensor([float(x @ y / (x.norm() * y.norm())) for x, y in zip(a, b, strict=True)])
    torch.testing.assert_close(reward_model().similarity(a, b), expected.double(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("patch", [1, 3])
def test_longest_motion(patch):
    model = reward_model(patch=patch, max_tokens=10)
    motion, lengths = motions([8 * patch], 8 * patch)
    model.encode_motion(motion, lengths, torch.tensor([0]))
    motion, lengths = motions([8 * patch + 1], 8 * patch + 1)
    with pytest.raises(FeatureSpecError, match="11 tokens exceeds the position table's 10"):
        model.encode_motion(motion, lengths, torch.tensor([0]))


@pytest.mark.parametrize("shape", [(2, 3, 5), (3, 5)])
def test_denoiser_treats_every_sample_alone(shape):
    tokens, size = shape[-2:]
    torch.manual_seed(3)
    model = LatentDenoiser(tokens, size, S, **SMALL).double().eval()
    latent, text = torch.randn(4, tokens, size).double(), torch.randn(4, S).double()
    t = torch.tensor([981, 1, 500, 20])
    together = model(latent, t, text)
    assert together.shape == latent.shape
    for i in range(4):
        alone = model(latent[i : i + 1], t[i], text[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-12)
    assert not torch.allclose(together, model(latent, t + 1, text))


@pytest.mark.parametrize("relu", [True, False])
def test_denoiser_sees_negative_text_channels_only_without_the_relu(relu):
    model = LatentDenoiser(1, 16, S, **SMALL, text_relu=relu).eval()
    latent, t = torch.randn(1, 1, 16), torch.tensor([7])
    text = -torch.rand(1, S) - 0.1
    assert torch.equal(model(latent, t, text), model(latent, t, 2 * text)) is relu


def test_sinusoid():
    table = sinusoid(torch.tensor([0, 3]), 6)
    frequencies = torch.tensor([10000.0 ** (-i / 3) for i in range(3)], dtype=torch.float64)
    assert table[0].tolist() == [1, 1, 1, 0, 0, 0]
    torch.testing.assert_close(table[1], torch.cat((torch.cos(3 * frequencies), torch.sin(3 * frequencies))))


def test_skip_connections_join_last_in_first_out():
    """With identity layers and known projections, the stack is a sum that shows which skip went where."""

    class Add(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, x, src_key_padding_mask):
            return x + self.value

    stack = SkipTransformer([Add(10.0**i) for i in range(5)], nn.LayerNorm(2))
    stack.norm = nn.Identity()
    for linear, factor in zip(stack.linear_blocks, (2.0, 3.0), strict=True):
        weight = torch.cat((torch.eye(2), factor * torch.eye(2)), dim=1)
        linear.load_state_dict({"weight": weight, "bias": torch.zeros(2)})
    x = torch.zeros(1, 1, 2)
    expected = 111.0 + 2 * 11 + 1000 + 3 * 1 + 10000  # current + 2 * second skip, then + 3 * first skip
    assert stack(x, torch.zeros(1, 1, dtype=torch.bool)).tolist() == [[[expected, expected]]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": 4}, "layers=4: must be odd"),
        ({"heads": 3}, "width=16"),
        ({"patch": 0}, "patch=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"feedforward": 0}, "feedforward=0"),
    ],
)
def test_impossible_sizes(changes, message):
    for build in (lambda **kw: StepAwareRewardModel(D, E, **kw), lambda **kw: MotionVAE(D, **kw)):
        with pytest.raises(ConfigError, match=message):
            build(**(SMALL | changes))


def test_wrong_feature_sizes_are_named():
    motion, lengths = motions([4], 4)
    with pytest.raises(FeatureSpecError, match=r"expects \[B, T, 7\]"):
        reward_model().encode_motion(motion[..., :-1], lengths, torch.tensor([0]))
    with pytest.raises(FeatureSpecError, match="lengths has shape"):
        vae_model().encode(motion, torch.tensor([4, 4]))
    with pytest.raises(FeatureSpecError, match="text tokens"):
        reward_model().encode_text(torch.zeros(1, 2, E + 1), torch.tensor([2]))
    with pytest.raises(FeatureSpecError, match="latent"):
        vae_model().decode(torch.zeros(1, 3, 5), lengths, 4)
    with pytest.raises(FeatureSpecError, match="denoiser"):
        LatentDenoiser(1, 16, S, **SMALL)(torch.zeros(2, 1, 16), torch.tensor([1]), torch.zeros(1, S))


def test_one_layer_is_a_plain_transformer():
    architecture = reward_model(layers=1).architecture
    stack = skip_encoder(architecture).eval()
    x, padding = torch.randn(4, 2, 16), torch.zeros(2, 4, dtype=torch.bool)
    torch.testing.assert_close(stack(x, padding), stack.norm(stack.middle_block(x)))
