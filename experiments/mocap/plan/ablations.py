"""The ablations of the latent generator on motion capture."""

from __future__ import annotations

from experiments.mocap.plan.chosen import Settings
from experiments.mocap.plan.guided_runs import ALONE, EXACT, TRAVEL, UNGUIDED_TOO, Variant, particles
from experiments.mocap.plan.study import OMEGAS

# What ablations differ from, whatever was chosen: the text reward alone, at every step, `constant` as published, at the
# predicted x_0; mu as the first run's sweeps have it.
TEXT_ALONE: Settings = {
    "guidance.mu": 20.0,
    "guidance.eta": 0.0,
    "guidance.scale": "constant",
    "guidance.location": "x0",
    "guidance.start": 1.0,
    "guidance.physical": {},
}
# Where predictions guided from the start overtake unguided ones (docs/results/earlier_runs.md).
LATE = 0.55
# Weights of physical rewards three times the chosen ones: by the selectors as good.
PHYSICAL = {"foot_skating": 10.0, "jerk": 0.01}
EARLY = "epoch049.ckpt"
FAST_STEPS = (50, 10, 4)


def variants(mld: Settings) -> dict[str, Variant]:
    """The ablations by name, from the chosen settings of the latent generator."""
    strength = TEXT_ALONE["guidance.mu"]
    paper = {**TEXT_ALONE, "guidance.mu": 2.0, "guidance.eta": 2.0}
    exact = {**TEXT_ALONE, **EXACT}
    alone = {**TEXT_ALONE, **ALONE}

    def text(**changed: object) -> Variant:
        return Variant({**TEXT_ALONE, **changed})

    return {
        "text_alone": Variant(TEXT_ALONE),
        "late": Variant({**TEXT_ALONE, "guidance.start": LATE}),
        "moment": Variant({**TEXT_ALONE, "guidance.scale": "moment"}),
        "physical": Variant({**ALONE, "guidance.physical": mld.get("guidance.physical") or PHYSICAL}),
        "strong": Variant({"guidance.physical": PHYSICAL}),
        "motion": Variant({**TEXT_ALONE, "guidance.mu": 0.0, "guidance.eta": strength}),
        "dual": Variant({**TEXT_ALONE, "guidance.eta": strength}),
        "notoken": text(reward="reward_notoken"),
        **{f"omega_{omega}": text(reward=f"reward_omega_{omega}") for omega in OMEGAS},
        "decoded": text(reward="reward_decoded"),
        "latent": text(reward="reward_latent"),
        "chosen_decoded": Variant({"reward": "reward_decoded"}),
        "chosen_both": Variant({"ensemble": ["reward_decoded"]}),
        "exact": Variant(exact),
        "exact_decoded": Variant({**exact, "reward": "reward_decoded"}),
        "exact_latent": Variant({**exact, "reward": "reward_latent"}),
        "paper": Variant({**paper, "guidance.location": "x_prev"}),
        "paper_x_t": Variant({**paper, "guidance.location": "x_t"}),
        "best": Variant({**alone, "search.candidates": 4}),
        "best_guided": Variant({"search.candidates": 4}),
        "steer": Variant({**alone, **particles(3)}, UNGUIDED_TOO),
        "ensemble": text(ensemble=["reward_s2", "reward_s3"]),
        "travel": Variant({**TEXT_ALONE, **TRAVEL}),
        "through": Variant({**TEXT_ALONE, "guidance.location": "x0_through"}),
        "cfg1": Variant({"sampling.cfg_scale": 1.0}, UNGUIDED_TOO),
        **{f"steps_{steps}": Variant({"sampling.steps": steps}, UNGUIDED_TOO) for steps in FAST_STEPS},
        "early": Variant({"checkpoint": EARLY}, UNGUIDED_TOO),
    }
