"""Noise schedules and schedulers against independent formulas, brute force and diffusers' own tables."""

import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from lightning_realign.diffusion import NoiseSchedule, make_scheduler
from lightning_realign.errors import ConfigError

SCHEDULES = [
    NoiseSchedule(),
    NoiseSchedule("linear", 1e-4, 0.02),
    NoiseSchedule("cosine"),
    NoiseSchedule("cosine", steps=50),
]
DIFFUSERS_NAMES = {"scaled_linear": "scaled_linear", "linear": "linear", "cosine": "squaredcos_cap_v2"}


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_alpha_bar_agrees_with_diffusers(schedule):
    reference = DDPMScheduler(
        schedule.steps, schedule.beta_start, schedule.beta_end, DIFFUSERS_NAMES[schedule.kind]
    ).alphas_cumprod
    assert schedule.alpha_bar.dtype == torch.float64
    assert schedule.alpha_bar.shape == (schedule.steps + 1,)
    assert schedule.alpha_bar[0] == 1.0
    assert (schedule.alpha_bar.diff() < 0).all()
    torch.testing.assert_close(schedule.alpha_bar[1:].float(), reference, rtol=1e-3, atol=1e-6)


def test_alpha_bar_is_the_product_of_the_alphas():
    schedule = NoiseSchedule(steps=7)
    signal = 1.0
    for i in range(7):
        root = math.sqrt(0.00085) + (math.sqrt(0.012) - math.sqrt(0.00085)) * i / 6
        signal *= 1 - root**2
        assert schedule.alpha_bar[i + 1] == pytest.approx(signal, rel=1e-14)


def test_cosine_follows_its_closed_form_below_the_cap():
    schedule = NoiseSchedule("cosine")

    def signal(t):
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    for t in (1, 250, 500, 900):
        assert schedule.alpha_bar[t] == pytest.approx(signal(t) / signal(0), rel=1e-10)
    assert schedule.betas.max() == 0.999


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_is_mixed_per_sample_and_clean_stays_clean(dtype):
    schedule = NoiseSchedule()
    x, noise = torch.randn(2, 4, 5, 3, dtype=dtype)
    noise[0, 0, 0] = float("inf")
    t = torch.tensor([0, 1, 500, 1000])
    noisy = schedule.add_noise(x, t, noise)
    assert torch.equal(noisy[0], x[0])
    assert noisy.dtype == dtype
    for i in (1, 2, 3):
        level = float(schedule.alpha_bar[t[i]])
        torch.testing.assert_close(noisy[i], math.sqrt(level) * x[i] + math.sqrt(1 - level) * noise[i])


def test_noise_has_the_stated_moments():
    schedule = NoiseSchedule()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(20000, 1, generator=generator, dtype=torch.float64)
    noisy = schedule.add_noise(torch.full_like(noise, 2.0), torch.full((20000,), 300), noise)
    level = float(schedule.alpha_bar[300])
    assert float(noisy.mean()) == pytest.approx(2 * math.sqrt(level), abs=0.02)
    assert float(noisy.var()) == pytest.approx(1 - level, rel=0.03)


@pytest.mark.parametrize("t", [-1, 1001])
def test_timestep_outside_the_schedule(t):
    x = torch.zeros(2, 3)
    with pytest.raises(ConfigError, match=r"must lie in \[0, 1000\]"):
        NoiseSchedule().add_noise(x, torch.tensor([5, t]), x)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_nearest_timestep_against_brute_force(schedule):
    levels = torch.rand(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    levels = torch.cat((levels, levels**8, 1 - levels**8)).reshape(3, 40)
    found = schedule.nearest_timestep(levels)
    assert found.dtype == torch.int64
    table = schedule.alpha_bar.tolist()
    for level, t in zip(levels.flatten().tolist(), found.flatten().tolist(), strict=True):
        assert t == min(range(len(table)), key=lambda i: abs(table[i] - level))
        assert schedule.nearest_timestep(level) == t


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_nearest_timestep_inverts_alpha_bar(schedule):
    assert torch.equal(schedule.nearest_timestep(schedule.alpha_bar), torch.arange(schedule.steps + 1))
    assert schedule.nearest_timestep(1.0) == 0
    assert schedule.nearest_timestep(0.0) == schedule.steps


def test_nearest_timestep_falls_with_the_signal():
    found = NoiseSchedule().nearest_timestep(torch.linspace(0, 1, 999, dtype=torch.float64))
    assert (found.diff() <= 0).all()


@pytest.mark.parametrize(
    ("generator", "index", "reward_index"),
    [
        *((NoiseSchedule("cosine", steps=50), i, j) for i, j in ((5, 41), (10, 112), (25, 376), (40, 710), (45, 891))),
        (NoiseSchedule("linear", 1e-4, 0.02), 250, 341),
        (NoiseSchedule("linear", 1e-4, 0.02), 500, 708),
        (NoiseSchedule("linear", 1e-4, 0.02), 750, 999),
        (NoiseSchedule("cosine"), 500, 359),
    ],
)
def test_levels_of_known_generators(generator, index, reward_index):
    """Indices of `alphas_cumprod`, one below our t on both sides."""
    level = float(generator.alpha_bar[index + 1])
    assert NoiseSchedule().nearest_timestep(level) == reward_index + 1


def test_round_trip_through_a_dictionary():
    schedule = NoiseSchedule("linear", 1e-4, 0.02, 77)
    assert NoiseSchedule(**schedule.to_dict()) == schedule


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "sigmoid"}, "schedule kind='sigmoid'"),
        ({"beta_start": 0.0}, "beta_start=0.0"),
        ({"beta_end": 1.0}, "beta_end=1.0"),
        ({"beta_start": 0.5}, "beta_start=0.5"),
        ({"steps": 0}, "steps=0"),
    ],
)
def test_impossible_schedules(settings, message):
    with pytest.raises(ConfigError, match=message):
        NoiseSchedule(**settings)


@pytest.mark.parametrize("name", ["ddim", "ddpm"])
@pytest.mark.parametrize(("count", "first", "second"), [(50, 981, 961), (20, 951, 901), (1000, 999, 998)])
def test_timesteps_lead_with_offset_one(name, count, first, second):
    scheduler = make_scheduler(name, NoiseSchedule())
    scheduler.set_timesteps(count)
    assert scheduler.timesteps.tolist()[:2] == [first, second]
    assert int(scheduler.timesteps[-1]) == (0 if count == 1000 else 1)
    assert len(scheduler.timesteps) == count


@pytest.mark.parametrize("name", ["ddim", "ddpm"])
@pytest.mark.parametrize("count", [0, 1001, 600, 350])
def test_step_counts_that_leave_the_schedule(name, count):
    with pytest.raises(ConfigError, match=f"sampling steps={count}"):
        make_scheduler(name, NoiseSchedule()).set_timesteps(count)


@pytest.mark.parametrize("schedule", SCHEDULES[:2], ids=str)
@pytest.mark.parametrize("count", [7, 20, 50])
def test_steps_agree_with_plain_diffusers(schedule, count):
    common = {
        "num_train_timesteps": schedule.steps,
        "beta_start": schedule.beta_start,
        "beta_end": schedule.beta_end,
        "beta_schedule": schedule.kind,
        "clip_sample": False,
        "steps_offset": 1,
    }
    references = {
        "ddim": DDIMScheduler(set_alpha_to_one=False, **common),
        "ddpm": DDPMScheduler(variance_type="fixed_small", **common),
    }
    for name, reference in references.items():
        ours = make_scheduler(name, schedule)
        results = []
        for scheduler in (ours, reference):
            scheduler.set_timesteps(count)
            generator = torch.Generator().manual_seed(0)
            x = torch.randn(2, 3, generator=generator, dtype=torch.float64)
            for t in scheduler.timesteps:
                noise = {"generator": generator} if name == "ddpm" else {}
                x = scheduler.step(0.3 * x + 0.1, t, x, **noise).prev_sample
            results.append(x)
        assert results[0].dtype == torch.float64
        torch.testing.assert_close(*results, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
@pytest.mark.parametrize("schedule", [SCHEDULES[0], NoiseSchedule("cosine")], ids=str)
def test_ddim_is_diffusers_bit_for_bit(schedule, prediction, eta, dtype):
    """Given the same float64 tables."""
    reference = DDIMScheduler(
        num_train_timesteps=schedule.steps,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction,
    )
    reference.alphas_cumprod = schedule.alpha_bar[1:].clone()
    reference.final_alpha_cumprod = reference.alphas_cumprod[0]
    ours = make_scheduler("ddim", schedule, prediction)
    for scheduler in (ours, reference):
        scheduler.set_timesteps(20)
    assert torch.equal(ours.timesteps, reference.timesteps)
    random = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, generator=random, dtype=dtype)
    for t in ours.timesteps.tolist():
        output, noise = (torch.randn(2, 3, generator=random, dtype=dtype) for _ in range(2))
        found, expected = (item.step(output, t, x, eta=eta, variance_noise=noise) for item in (ours, reference))
        assert torch.equal(found.pred_original_sample, expected.pred_original_sample)
        assert torch.equal(found.prev_sample, expected.prev_sample)
        x = found.prev_sample
    if eta:
        with pytest.raises(ConfigError, match=rf"scheduler eta={eta}: such a step adds noise; give variance_noise"):
            ours.step(output, t, x, eta=eta)


def test_ddim_with_the_true_noise_returns_to_the_first_level():
    schedule = NoiseSchedule()
    clean, noise = torch.randn(2, 4, 6, dtype=torch.float64)
    scheduler = make_scheduler("ddim", schedule)
    scheduler.set_timesteps(50)
    x = schedule.add_noise(clean, scheduler.timesteps[:1].expand(4) + 1, noise)
    for t in scheduler.timesteps:
        x = scheduler.step(noise, t, x).prev_sample
    torch.testing.assert_close(x, schedule.add_noise(clean, torch.ones(4, dtype=torch.long), noise), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["ddim", "ddpm"])
def test_prediction_of_the_clean_sample_equals_prediction_of_the_noise(name):
    schedule = NoiseSchedule()
    x, clean = torch.randn(2, 3, 4, dtype=torch.float64)
    level = float(schedule.alpha_bar[482])
    noise = (x - math.sqrt(level) * clean) / math.sqrt(1 - level)
    results = []
    for prediction, output in (("epsilon", noise), ("sample", clean)):
        scheduler = make_scheduler(name, schedule, prediction)
        scheduler.set_timesteps(50)
        draws = {"generator": torch.Generator().manual_seed(0)} if name == "ddpm" else {}
        results.append(scheduler.step(output, 481, x, **draws).prev_sample)
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["ddim", "ddpm"])
def test_float32_samples_stay_float32(name):
    scheduler = make_scheduler(name, NoiseSchedule())
    scheduler.set_timesteps(10)
    assert (
        scheduler.step(torch.randn(2, 3), scheduler.timesteps[0], torch.randn(2, 3)).prev_sample.dtype == torch.float32
    )


def test_unknown_scheduler_and_prediction():
    with pytest.raises(ConfigError, match="scheduler='euler'"):
        make_scheduler("euler", NoiseSchedule())
    with pytest.raises(ConfigError, match="prediction='velocity'"):
        make_scheduler("ddim", NoiseSchedule(), "velocity")


def test_a_schedule_holds_nothing_but_its_settings():
    """A command line reads the attributes of a default; a table among them would be taken for a setting."""
    schedule = NoiseSchedule()
    assert schedule.alpha_bar[0] == 1 and schedule.betas is NoiseSchedule().betas
    assert set(vars(schedule)) == {"kind", "beta_start", "beta_end", "steps"}
