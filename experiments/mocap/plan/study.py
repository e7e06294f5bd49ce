"""All units of the study, from the data set to the test runs, with the commands of a user.

On one core of a small machine a training takes from four to forty minutes, and goes on from its last epoch if
stopped; a test run of 20 replications takes about half an hour, one of 5 a few minutes, a sweep ten.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from experiments.mocap.plan.units import FOLDER, PlannedUnit
from lightning_realign.files.atomic import write_text_atomic
from lightning_realign.files.reading import read_text

DEFAULT_OUT = Path("runs/mocap")
CONFIGS, SWEEPS = Path("experiments/mocap/configs"), Path("experiments/mocap/sweeps")
QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
OMEGAS = ("0", "0.25", "0.75", "1")
LEVELS = ",".join(str(level) for level in range(0, 1001, 100))
# Reward models by seed: the step-aware ones, and TMR's, which also judge and choose.
STEP_AWARE = {1: "reward", 2: "reward_s2", 3: "reward_s3"}
TMR = {1: "judge_tmr", 2: "select_tmr", 3: "tmr_s3"}
# Frames per token of the VAE.
PATCH = "--model.init_args.network.patch=4"
# Further rewards whose retrieval is measured, of one seed each.
OTHERS = {**{f"omega_{omega}": f"reward_omega_{omega}" for omega in OMEGAS}, "notoken": "reward_notoken"}


@dataclass(frozen=True)
class Study:
    """Where the study lies. source: folder of the joint positions and captions. out: of everything that is made."""

    source: Path
    out: Path

    def file(self, unit: str, name: str = "last.ckpt") -> str:
        """A file of a unit."""
        return str(self.out / "units" / unit / name)

    def own(self, path: Path) -> Path:
        """A configuration that names files of the study: itself in the default folder, else its copy in `out`."""
        return path if self.out == DEFAULT_OUT else self.out / path.parent.name / path.name

    def write_own(self) -> None:
        """Make those copies, with the default folder replaced by `out`."""
        if self.out == DEFAULT_OUT:
            return
        for path in (*sorted(CONFIGS.glob("*.yaml")), *sorted(SWEEPS.glob("*.yaml"))):
            text = read_text(path, "configuration").replace(str(DEFAULT_OUT), str(self.out))
            write_text_atomic(self.own(path), text)

    def run(self, stage: str, config: str, *overrides: str, data: str = "data", over: str = "") -> tuple[str, ...]:
        """A command of `train.py`, its second configuration `over` being one of the study's own."""
        second = ("--config", str(self.own(CONFIGS / f"{over}.yaml"))) if over else ()
        root = f"--data.init_args.root={self.out / data}"
        places = (root, *QUIET, f"--trainer.default_root_dir={FOLDER}")
        return ("python", "train.py", stage, "--config", f"configs/{config}.yaml", *second, *places, *overrides)

    def fit(
        self, name: str, config: str, *overrides: str, needs: tuple[str, ...] = (), data: str = "data", over: str = ""
    ) -> PlannedUnit:
        """A training."""
        command = self.run("fit", config, *overrides, data=data, over=over)
        return PlannedUnit(name, command, (data, *needs), resume="checkpoint")


def epochs(count: int) -> str:
    """The length of a training."""
    return f"--trainer.max_epochs={count}"


def seeds(seed: int) -> tuple[str, ...]:
    """One seed for everything."""
    return (f"--seed_everything={seed}", f"--model.init_args.seed={seed}", f"--data.init_args.seed={seed}")


def data_units(study: Study) -> list[PlannedUnit]:
    """The data set, and the split of it that holds out whole (content, style) pairs."""
    build = ("python", "-m", "experiments.mocap.measure.splits", "--source", str(study.source), "--out")
    return [
        PlannedUnit("data", (*build, str(study.out / "data"))),
        PlannedUnit("pairs_data", (*build, str(study.out / "pairs_data"), "--pairs")),
    ]


def generator_units(study: Study) -> list[PlannedUnit]:
    """The VAE and the two generators."""
    vae = f"--model.init_args.vae={study.file('vae', 'best.ckpt')}"
    return [
        study.fit("vae", "generator/vae_mocap", epochs(90), PATCH),
        study.fit("mld", "generator/mld_mocap", epochs(200), vae, needs=("vae",), over="mld_checkpoints"),
        study.fit("mdm", "generator/mdm_mocap", "--seed_everything=1", epochs(100), "--trainer.precision=bf16-mixed"),
    ]


def reward_units(study: Study) -> list[PlannedUnit]:
    """The rewards that guide."""
    motion, forty = "reward/mocap", epochs(40)
    vae = f"--model.init_args.vae={study.file('vae', 'best.ckpt')}"
    decoded = ("--model.init_args.space=decoded", "--model.init_args.cache_latents=true", vae)
    no_token = "--model.init_args.network.step_aware=false"
    return [
        *(study.fit(name, motion, *seeds(seed), forty) for seed, name in STEP_AWARE.items()),
        *(
            study.fit(f"reward_omega_{omega}", motion, *seeds(1), forty, f"--model.init_args.noise.omega={omega}")
            for omega in OMEGAS
        ),
        study.fit("reward_notoken", motion, *seeds(1), forty, no_token),
        study.fit("reward_latent", "reward/mocap_latent", *seeds(1), epochs(30), vae, needs=("vae",)),
        study.fit("reward_decoded", motion, *seeds(1), epochs(30), *decoded, needs=("vae",)),
    ]


def evaluator_units(study: Study) -> list[PlannedUnit]:
    """The judges, and the selectors: other seeds of the same architectures."""
    return [
        study.fit("judge_guo", "evaluator/guo_mocap"),
        study.fit("select_guo", "evaluator/guo_mocap", *seeds(2)),
        *(study.fit(name, "reward/tmr_mocap", *seeds(seed), epochs(40)) for seed, name in TMR.items()),
    ]


def pairs_units(study: Study) -> list[PlannedUnit]:
    """The same recipes, shorter, on the second split."""
    split = "pairs_data"
    vae = f"--model.init_args.vae={study.file('pairs_vae', 'best.ckpt')}"
    return [
        study.fit("pairs_vae", "generator/vae_mocap", epochs(40), PATCH, data=split),
        study.fit("pairs_mld", "generator/mld_mocap", epochs(100), vae, needs=("pairs_vae",), data=split),
        study.fit("pairs_reward", "reward/mocap", *seeds(1), epochs(25), data=split),
        study.fit("pairs_guo", "evaluator/guo_mocap", data=split),
    ]


def retrieval_units(study: Study) -> list[PlannedUnit]:
    """Retrieval at all noise levels, step-aware, TMR and the ablations' rewards; the noise is the same for all."""
    kinds = [
        ("step", "reward/mocap", STEP_AWARE),
        ("tmr", "reward/tmr_mocap", TMR),
        *((name, "reward/mocap", {1: unit}) for name, unit in OTHERS.items()),
    ]
    levels = f"--model.init_args.noise.validation_timesteps=[{LEVELS}]"
    return [
        PlannedUnit(
            f"retrieval_{kind}_s{seed}",
            study.run("test", config, f"--ckpt_path={study.file(model)}", levels),
            ("data", model),
        )
        for kind, config, models in kinds
        for seed, model in models.items()
    ]
