"""The same on the synthetic set, whose oracle knows what every motion shows: the demo's recipes, and its ablations."""

from __future__ import annotations

from experiments.mocap.plan.chosen import Settings
from experiments.mocap.plan.guided_runs import (
    ABLATION_REPLICATIONS,
    ALL_SYSTEMS,
    ALONE,
    EXACT,
    REPLICATIONS,
    TRAVEL,
    UNGUIDED_TOO,
    Variant,
    guided_options,
    particles,
    rewards_of,
)
from experiments.mocap.plan.study import CONFIGS, Study, epochs
from experiments.mocap.plan.units import FOLDER, PlannedUnit

DATA, GENERATOR, MOTION_REWARD = "synthetic_data", "synthetic_mld", "synthetic_reward_motion"
JUDGES = ("synthetic_judge_guo", "synthetic_judge_tmr")
# The data set is a part of its unit, and made whole or not at all.
ROOT = f"units/{DATA}/data"
# The demo's guided motions take 1.7 to 1.9 times the seconds of unguided ones: so many at equal compute.
EQUAL_COMPUTE = 2
STRONGER = 3
# Weights of physical rewards as they were chosen on motion capture; none was tried on this set.
CHOSEN_ON_MOCAP = {"foot_skating": 3.0, "jerk": 0.003}


def synthetic_units(study: Study, chosen: Settings) -> list[PlannedUnit]:
    """The data set, the trainings on it, and the test runs.

    Args:
        study: where it lies.
        chosen: settings of the generator and its guidance.
    """
    make = ("python", "-m", "lightning_realign", "data", "synth", "--out", f"{FOLDER}/data")
    return [
        PlannedUnit(DATA, make),
        *training_units(study),
        _test(study, "test_synthetic", chosen, ALL_SYSTEMS, REPLICATIONS),
        *(
            _test(study, f"test_synthetic_{name}", {**chosen, **found.settings}, found.systems, ABLATION_REPLICATIONS)
            for name, found in variants(chosen).items()
        ),
    ]


def training_units(study: Study) -> list[PlannedUnit]:
    """The demo's trainings as `make demo` runs them, a reward of its length in feature space, and the judges."""
    vae = f"--model.init_args.vae={study.file('synthetic_vae')}"
    return [
        _fit(study, "synthetic_vae", "demo/vae"),
        _fit(study, GENERATOR, "demo/diffusion", vae, needs=("synthetic_vae",)),
        _fit(study, "synthetic_reward", "demo/reward", vae, needs=("synthetic_vae",)),
        _fit(study, MOTION_REWARD, "reward/synthetic", "--model.init_args.optimiser.warmup_steps=100", epochs(80)),
        _fit(study, JUDGES[0], "evaluator/guo_synthetic", epochs(60)),
        _fit(study, JUDGES[1], "reward/tmr_synthetic", epochs(40)),
    ]


def variants(chosen: Settings) -> dict[str, Variant]:
    """The ablations by name, from the chosen settings."""
    return {
        "best": Variant({**ALONE, "search.candidates": EQUAL_COMPUTE}),
        "best_guided": Variant({"search.candidates": 4}),
        "physical": Variant({"guidance.physical": CHOSEN_ON_MOCAP}),
        "motion_reward": Variant({"reward": MOTION_REWARD}),
        "strong": Variant({"guidance.mu": STRONGER * float(chosen["guidance.mu"])}),
        "through": Variant({"guidance.location": "x0_through"}),
        "exact": Variant(EXACT),
        "travel": Variant(TRAVEL),
        "steer": Variant({**ALONE, **particles(EQUAL_COMPUTE)}, UNGUIDED_TOO),
    }


def _fit(study: Study, name: str, config: str, *options: str, needs: tuple[str, ...] = ()) -> PlannedUnit:
    """A training; the demo's configurations have a folder of their own, which the options replace."""
    command = study.run("fit", config, *options, data=ROOT)
    return PlannedUnit(name, command, (DATA, *needs), resume="checkpoint")


def _test(study: Study, name: str, settings: Settings, systems: tuple[str, ...], replications: int) -> PlannedUnit:
    options = guided_options(study, GENERATOR, settings, systems, replications)
    command = study.run("test", "demo/guided", *options, data=ROOT, over="synthetic")
    needs = dict.fromkeys((DATA, GENERATOR, *rewards_of(settings), *JUDGES))
    return PlannedUnit(name, command, tuple(needs), (CONFIGS / "synthetic.yaml",))
