"""Losses against closed forms and plain NumPy in float64."""

import numpy as np
import pytest
import torch

from lightning_realign.training.losses import (
    cross_modal_kl,
    gaussian_kl,
    info_nce,
    masked_mean,
    masked_smooth_l1,
    standard_kl,
)
from lightning_realign.types import Gaussian


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_smooth_l1_is_the_mean_over_valid_entries_then_over_samples():
    prediction, target, lengths = 2 * normal(3, 7, 4), normal(3, 7, 4, seed=1), torch.tensor([7, 3, 1])
    per_sample = []
    for row, length in enumerate(lengths.tolist()):
        error = np.abs((prediction - target)[row, :length].numpy())
        per_sample.append(np.where(error < 1, 0.5 * error**2, error - 0.5).mean())
    assert masked_smooth_l1(prediction, target, lengths).item() == pytest.approx(np.mean(per_sample), rel=1e-12)


def test_smooth_l1_never_sees_padding():
    prediction, target, lengths = normal(3, 7, 4), normal(3, 7, 4, seed=1), torch.tensor([7, 3, 1])
    longer = torch.cat((prediction, 1e6 * normal(3, 5, 4, seed=2)), dim=1).requires_grad_()
    loss = masked_smooth_l1(longer, torch.cat((target, normal(3, 5, 4, seed=3)), dim=1), lengths)
    assert loss.item() == pytest.approx(masked_smooth_l1(prediction, target, lengths).item(), rel=1e-14)
    (gradient,) = torch.autograd.grad(loss, longer)
    for row, length in enumerate(lengths.tolist()):
        assert gradient[row, :length].abs().min() > 0
        assert gradient[row, length:].abs().max() == 0


def test_masked_mean_takes_joint_tensors_and_plain_sequences():
    values, lengths = normal(2, 5, 3, 3), torch.tensor([5, 2])
    expected = torch.stack([values[0].mean(), values[1, :2].mean()])
    torch.testing.assert_close(masked_mean(values, lengths), expected)
    torch.testing.assert_close(masked_mean(values[..., 0, 0], lengths)[1], values[1, :2, 0, 0].mean())


def test_kl_agrees_with_torch_distributions():
    first, second = Gaussian(normal(4, 6), normal(4, 6, seed=1)), Gaussian(normal(4, 6, seed=2), normal(4, 6, seed=3))

    def law(gaussian):
        return torch.distributions.Normal(gaussian.mean, (0.5 * gaussian.logvar).exp())

    standard = torch.distributions.Normal(torch.zeros(4, 6).double(), torch.ones(4, 6).double())
    divergence = torch.distributions.kl_divergence
    torch.testing.assert_close(gaussian_kl(first, second), divergence(law(first), law(second)).mean())
    torch.testing.assert_close(standard_kl(first), divergence(law(first), standard).mean())
    expected = sum(
        divergence(p, q).mean()
        for p, q in (
            (law(second), law(first)),
            (law(first), law(second)),
            (law(first), standard),
            (law(second), standard),
        )
    )
    torch.testing.assert_close(cross_modal_kl(first, second), expected)


def naive_info_nce(motion, text, sentences, temperature, threshold):
    motion, text, sentences = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (motion, text, sentences))
    size, total = len(motion), 0.0
    for queries, gallery in ((motion, text), (text, motion)):
        for i in range(size):
            kept = [j for j in range(size) if j == i or sentences[i] @ sentences[j] <= threshold]
            weights = {j: np.exp(queries[i] @ gallery[j] / temperature) for j in kept}
            total -= np.log(weights[i] / sum(weights.values())) / size
    return total / 2


@pytest.mark.parametrize("threshold", [-1.5, 0.0, 0.8])
def test_info_nce_agrees_with_a_plain_loop(threshold):
    motion, text, sentences = normal(6, 5), normal(6, 5, seed=1), normal(6, 3, seed=2)
    expected = naive_info_nce(motion.numpy(), text.numpy(), sentences.numpy(), 0.1, threshold)
    assert info_nce(motion, text, sentences, 0.1, threshold).item() == pytest.approx(expected, rel=1e-12)


def test_a_repeated_caption_is_no_negative_of_itself():
    motion, text = normal(4, 5), normal(4, 5, seed=1)
    sentences = torch.eye(4, dtype=torch.float64)
    sentences[3] = sentences[0]
    text = text.requires_grad_()
    loss = info_nce(motion, text, sentences, 0.1, 0.8)
    assert loss.item() == pytest.approx(
        naive_info_nce(motion.numpy(), text.detach().numpy(), sentences.numpy(), 0.1, 0.8)
    )
    (gradient,) = torch.autograd.grad(loss, text)
    assert gradient.isfinite().all()
    identical = torch.ones(4, 2, dtype=torch.float64)
    assert info_nce(motion, text, identical, 0.1, 0.8).item() == 0.0


def test_info_nce_of_perfectly_separated_pairs():
    latents = torch.eye(5, dtype=torch.float64)
    expected = np.log(np.exp(10) + 4) - 10
    assert info_nce(latents, 3 * latents, latents, 0.1, 0.8).item() == pytest.approx(expected, rel=1e-9)
