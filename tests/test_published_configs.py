"""The configurations of published generators, run on look-alikes of the published files."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmarks.published_files import FORMS, MDM_FORMS, write_generator, write_reward
from lightning_realign.generators import FAMILIES
from tests.cli_bench import TINY_RUN, launch_lines, realign
from tests.test_configs import PUBLISHED, name

# Families with files that the look-alikes do not have: their own tests run them.
ELSEWHERE = ("momask", "mardm", "remodiffuse")


def settings(path: Path) -> dict:
    return yaml.safe_load(path.read_text())["model"]["init_args"]


def look_alike(path: Path) -> str:
    """The look-alike of a configuration's generator."""
    family = settings(path)["family"]
    if family != "mdm":
        return family
    return next((form for form in ("mdm50", "mdm_bert") if form in path.stem), "mdm")


def test_every_published_family_has_a_configuration():
    assert {settings(path)["family"] for path in PUBLISHED} | {"own"} == set(FAMILIES)
    assert {*ELSEWHERE, *FORMS, "mdm", "motiondiffuse", "own"} >= set(FAMILIES)
    assert {look_alike(path) for path in PUBLISHED} >= {*FORMS, *MDM_FORMS}


RUN_HERE = [path for path in PUBLISHED if settings(path)["family"] not in ELSEWHERE]


@pytest.mark.parametrize("path", RUN_HERE, ids=name)
def test_motions_are_guided(path, cli_bench, checkout):
    skeleton = "kit" if "kit" in path.stem else "humanml3d"
    root, chosen = cli_bench.data[skeleton], settings(path)
    generator = write_generator(look_alike(path), checkout / "generator", skeleton)
    assert generator.name == Path(chosen["generator"]).name
    reward = write_reward(checkout / "reward", skeleton)
    assert reward.name == Path(chosen["reward"]).name
    options = [
        *TINY_RUN,
        f"--data.init_args.root={root}",
        "--data.init_args.batch_size=2",
        "--data.init_args.num_workers=0",
        "--model.init_args.steps=2",
        f"--model.init_args.generator={generator}",
        f"--model.init_args.reward={reward}",
        f"--model.init_args.reward_statistics={root}",
    ]
    if "statistics" in chosen:
        options.append(f"--model.init_args.statistics={root}")
    made = {}
    for mu in (chosen["mu"], 0.0):
        realign(*launch_lines(path)[0], *options, f"--model.init_args.mu={mu}")
        folder = Path("runs/guided") / path.stem / "motions"
        files = sorted(folder.glob("*.npz"))
        assert len(files) == 2
        made[mu] = [np.load(file)["features"] for file in files]
        for file in files:
            file.unlink()
    for guided, plain in zip(*made.values(), strict=True):
        assert np.isfinite(guided).all() and guided.shape == plain.shape
        assert not np.array_equal(guided, plain)
