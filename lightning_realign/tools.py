"""The tools behind `python -m lightning_realign TOOL`. Each imports what it needs when it runs, so help is instant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal


def data_synth(
    out: Path, skeleton: str = "humanml3d", train: int = 1200, val: int = 60, test: int = 240, seed: int = 1234
) -> None:
    """Make the synthetic data set: procedural motions with captions and true attributes.

    Args:
        out: The folder to make; it must not exist yet.
        skeleton: `humanml3d` (22 joints, 20 fps, metres) or `kit` (21 joints, 12.5 fps, millimetres).
        train: Number of training motions.
        val: Number of validation motions.
        test: Number of test motions.
        seed: The same seed gives the same bytes.
    """
    from lightning_realign.data.synthetic import make_dataset

    make_dataset(out, skeleton, train, val, test, seed)


def data_build(joints: Path, out: Path, skeleton: str | None = None) -> None:
    """Turn a folder of joint positions, captions and splits into a HumanML3D-format data set.

    Args:
        joints: Folder with joints/*.npy [T, J, 3], texts/*.txt, train|val|test.txt and metadata.json.
        out: The folder to make; it must not exist yet.
        skeleton: `humanml3d` or `kit`; by default what metadata.json says.
    """
    from lightning_realign.data.build import build_from_joints

    report = build_from_joints(joints, out, skeleton=skeleton)
    print(report)


def generate(
    prompt: list[str],
    ckpt: Path,
    out: Path,
    seconds: float = 4.0,
    samples: int = 1,
    reward: Path | None = None,
    mu: float = 0.0,
    eta: float = 0.0,
    scale: Literal["score", "posterior", "constant"] = "score",
    location: Literal["x_t", "x_prev", "x0"] = "x_t",
    steps: int = 50,
    scheduler: Literal["ddim", "ddpm"] = "ddim",
    cfg_scale: float = 7.5,
    seed: int = 1234,
    index: Path | None = None,
) -> None:
    """Generate motions from prompts; needs a generator's checkpoint and no data set.

    Args:
        prompt: One or more texts.
        ckpt: Checkpoint of a generator.
        out: Folder for one .npz per motion.
        seconds: Length of the motions.
        samples: Motions per prompt.
        reward: Checkpoint of a reward model, needed when mu or eta is not 0.
        mu: Weight of the text reward.
        eta: Weight of the motion reward.
        scale: How the gradient enters the step.
        location: The tensor at which the gradient is taken.
        steps: Sampling steps.
        scheduler: `ddim` or `ddpm`.
        cfg_scale: Scale of classifier-free guidance.
        seed: The same prompt and seed give the same motion.
        index: The training split's index for eta, which a guided run with eta leaves in its index cache.
    """
    from lightning_realign.inference.prompt import generate as run

    files = run(
        prompt,
        ckpt,
        out,
        seconds=seconds,
        samples=samples,
        reward=reward,
        mu=mu,
        eta=eta,
        scale=scale,
        location=location,
        steps=steps,
        scheduler=scheduler,
        cfg_scale=cfg_scale,
        seed=seed,
        index=index,
    )
    print("\n".join(str(file) for file in files))


def render(files: list[Path], out: Path, titles: list[str] | None = None) -> None:
    """Draw motions side by side as an animation (.gif or .mp4) or a film strip (.png).

    Args:
        files: .npz files of generated motions.
        out: The picture to write; its suffix chooses the form.
        titles: One title per file; by default the file names.
    """
    from lightning_realign.report.render import render as run

    run(files, out, titles=titles)


def compare(unguided: Path, guided: Path, out: Path, data: Path | None = None) -> None:
    """Draw one caption's motion without and with guidance side by side, a chosen example.

    Args:
        unguided: Folder of predictions made without guidance.
        guided: Folder of predictions for the same ids made with guidance.
        out: The animation (.gif or .mp4); a film strip of the same name and suffix .png is written beside it.
        data: The data set's folder, whose oracle helps to choose where it has one.
    """
    from lightning_realign.report.compare import pick_pair
    from lightning_realign.report.render import render as run

    pair = pick_pair(unguided, guided, data)
    files, titles = [pair.unguided, pair.guided], ["unguided", "guided"]
    for target in (out, out.with_suffix(".png")):
        print(run(files, target, titles=titles))
    print(f"{pair.name}: {pair.reason}")


def sweep(file: Path, out: Path | None = None) -> None:
    """Run a W&B sweep file without a server; ends in a table and a picture.

    Args:
        file: A sweep file such as sweeps/mu_eta.yaml.
        out: Folder of the results; finished points found there are not run again.
    """
    from lightning_realign.sweep import run_sweep

    result = run_sweep(file, out, report=print)
    if result.exit_code:
        raise SystemExit(result.exit_code)


TOOLS: Mapping[str, tuple[Callable[..., Any], str | None]] = {
    "generate": (generate, "prompt"),
    "render": (render, "files"),
    "compare": (compare, None),
    "sweep": (sweep, None),
}
DATA_TOOLS: Mapping[str, Callable[..., Any]] = {"synth": data_synth, "build": data_build}
