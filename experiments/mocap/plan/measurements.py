"""The units that measure: sweeps on the validation split, and test runs with the settings chosen there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.mocap.plan.ablations import variants
from experiments.mocap.plan.chosen import Chosen, Settings, read_chosen
from experiments.mocap.plan.guided_runs import (
    ABLATION_REPLICATIONS,
    ALL_SYSTEMS,
    ALONE,
    REPLICATIONS,
    guided_options,
    overrides,
    rewards_of,
)
from experiments.mocap.plan.study import (
    CONFIGS,
    OMEGAS,
    SWEEPS,
    Study,
    data_units,
    evaluator_units,
    generator_units,
    pairs_units,
    retrieval_units,
    reward_units,
)
from experiments.mocap.plan.synthetic import synthetic_units
from experiments.mocap.plan.units import FOLDER, PlannedUnit
from lightning_realign.errors import ConfigError

SELECTORS = ("select_guo", "select_tmr")
# What configs/test.yaml and configs/pairs.yaml name: judges, and the reward whose x^c is what may have been copied.
JUDGES = ("judge_guo", "judge_tmr")
MEASURED_BY, PAIRS_MEASURED_BY = (*JUDGES, "reward"), ("pairs_guo", "pairs_reward")
BASES = {"mld": "guided/mocap", "mdm": "guided/mdm_mocap"}
# An unguided motion of the motion-space generator takes five times the seconds (docs/real_data.md).
BASE_REPLICATIONS = {"mld": REPLICATIONS, "mdm": ABLATION_REPLICATIONS}
KEPT_EPOCHS = (50, 100, 150, 200)
# Sweep file -> unit, and the trainings behind it.
SWEPT = {
    "cfg": ("val_mld_cfg", ("mld", "reward")),
    "mdm_cfg": ("val_mdm_cfg", ("mdm", "reward")),
    "mu_eta": ("val_mld_mu_eta", ("mld", "reward")),
    "mdm_mu_eta": ("val_mdm_mu_eta", ("mdm", "reward")),
    "mu_omega": ("val_mld_mu_omega", ("mld", "reward", *(f"reward_omega_{omega}" for omega in OMEGAS))),
    "exact": ("val_mld_exact_mu", ("mld", "reward", "reward_decoded", "reward_latent")),
    "paper": ("val_mld_paper_mu", ("mld", "reward")),
    "window": ("val_mld_windows", ("mld", "reward")),
    "moment": ("val_mld_moments", ("mld", "reward")),
    "physical": ("val_mld_physics", ("mld", "reward")),
    "late": ("val_mld_late_physics", ("mld", "reward")),
}


def plan(source: Path, out: Path, chosen: Path = CONFIGS / "chosen.yaml") -> list[PlannedUnit]:
    """All units.

    Args:
        source: folder of the joint positions, captions and split lists.
        out: the study's folder.
        chosen: what was chosen on the validation split.

    Raises:
        ConfigError: the choices cannot be used.
    """
    study, choices = Study(source, out), read_chosen(chosen)
    return [
        *data_units(study),
        *generator_units(study),
        *evaluator_units(study),
        *reward_units(study),
        *pairs_units(study),
        *retrieval_units(study),
        *validation_units(study, choices),
        *test_units(study, choices),
        *synthetic_units(study, choices.generators["synthetic"]),
    ]


def validation_units(study: Study, chosen: Chosen) -> list[PlannedUnit]:
    """The sweeps, every kept checkpoint of the latent generator, and the chosen settings beside unguided motions."""
    units = []
    for file, (name, needs) in SWEPT.items():
        path = SWEEPS / f"{file}.yaml"
        command = ("python", "-m", "lightning_realign", "sweep", str(study.own(path)), "--out", FOLDER)
        units.append(PlannedUnit(name, command, ("data", *needs, *SELECTORS), (path,), "folder"))
    mld = chosen.generators["mld"]
    for epoch in KEPT_EPOCHS:
        settings = {**mld, "checkpoint": f"epoch{epoch - 1:03d}.ckpt", **ALONE}
        units.append(_guided(study, f"val_mld_epoch_{epoch}", "mld", settings, ("real", "unguided"), None, "val"))
    # One replication of so small a split tells too little of the chosen setting and its candidates.
    count = ABLATION_REPLICATIONS
    units += [_guided(study, f"val_{name}", name, chosen.generators[name], ALL_SYSTEMS, count, "val") for name in BASES]
    for ablation, variant in variants(mld).items():
        settings = {**mld, **variant.settings, **chosen.ablations.get(ablation, {})}
        units.append(_guided(study, f"val_mld_{ablation}", "mld", settings, variant.systems, count, "val"))
    return units


def test_units(study: Study, chosen: Chosen) -> list[PlannedUnit]:
    """The main runs of both generators, the ablations, x^c itself, the second split, and the trajectory.

    Raises:
        ConfigError: a choice for an ablation that does not exist.
    """
    mld = chosen.generators["mld"]
    found = variants(mld)
    if unknown := sorted(set(chosen.ablations) - set(found)):
        raise ConfigError(f"chosen settings: ablations has {unknown[0]!r}; choose among {', '.join(found)}")
    units = [
        _guided(study, f"test_{name}", name, chosen.generators[name], ALL_SYSTEMS, count)
        for name, count in BASE_REPLICATIONS.items()
    ]
    for ablation, variant in found.items():
        settings = {**mld, **variant.settings, **chosen.ablations.get(ablation, {})}
        name = f"test_mld_{ablation}"
        units.append(_guided(study, name, "mld", settings, variant.systems, ABLATION_REPLICATIONS))
    pairs = _guided(study, "test_pairs", "pairs_mld", {**mld, "reward": "pairs_reward"}, ALL_SYSTEMS, 5, pairs=True)
    return [*units, *_nearest(study, str(mld["reward"])), pairs, _trajectory(study, mld)]


def _guided(
    study: Study,
    name: str,
    generator: str,
    settings: Settings,
    systems: Sequence[str],
    replications: int | None,
    stage: str = "test",
    pairs: bool = False,
) -> PlannedUnit:
    """A run of GuidedGeneration; replications None: what the validation configuration says."""
    over = "pairs" if pairs else "test" if stage == "test" else "val"
    data = "pairs_data" if pairs else "data"
    evaluators = PAIRS_MEASURED_BY if pairs else MEASURED_BY if stage == "test" else SELECTORS
    command = study.run(
        "test" if stage == "test" else "validate",
        BASES.get(generator, BASES["mld"]),
        *guided_options(study, generator, settings, systems, replications),
        data=data,
        over=over,
    )
    needs = dict.fromkeys((data, generator, *rewards_of(settings), *evaluators))
    return PlannedUnit(name, command, tuple(needs), (CONFIGS / f"{over}.yaml",))


def _nearest(study: Study, reward: str) -> list[PlannedUnit]:
    """x^c as the output: first its motions, then their test run."""
    data, count = str(study.out / "data"), str(ABLATION_REPLICATIONS)
    make = ("python", "-m", "experiments.mocap.measure.nearest", "--data", data, "--reward", study.file(reward))
    options = {
        "folder": study.file("nearest", "motions"),
        "method": "nearest",
        "reward.path": study.file(reward),
        "measuring.replications": ABLATION_REPLICATIONS,
    }
    command = study.run("test", "guided/samples", *overrides(options), over="test")
    return [
        PlannedUnit("nearest", (*make, "--replications", count, "--out", f"{FOLDER}/motions"), ("data", reward)),
        PlannedUnit(
            "test_mld_nearest",
            command,
            tuple(dict.fromkeys(("data", "nearest", reward, *MEASURED_BY))),
            (CONFIGS / "test.yaml",),
        ),
    ]


def _trajectory(study: Study, mld: Settings) -> PlannedUnit:
    """Rewards and judges along the trajectory, unguided and guided."""
    reward = str(mld["reward"])
    judges = [f"{kind}:{study.file(f'judge_{kind}')}" for kind in ("guo", "tmr")]
    options = {
        "--generator": [study.file("mld", str(mld["checkpoint"]))],
        "--reward": [study.file(reward)],
        "--judges": judges,
        "--data": [str(study.out / "data")],
        "--split": ["test"],
        "--mu": [str(mld["guidance.mu"])],
        "--scale": [str(mld["guidance.scale"])],
        "--location": [str(mld["guidance.location"])],
        "--start": [str(mld.get("guidance.start", 1.0))],
        "--steps": [str(mld["sampling.steps"])],
        "--cfg": [str(mld["sampling.cfg_scale"])],
        "--out": [FOLDER],
    }
    words = [word for name, values in options.items() for word in (name, *values)]
    command = ("python", "-m", "experiments.mocap.measure.trajectory", *words)
    return PlannedUnit("trajectory_mld", command, ("data", "mld", reward, *JUDGES))
