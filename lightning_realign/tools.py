"""The tools behind `python -m lightning_realign TOOL`. Each imports what it needs when it runs, so help is instant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal


def export(
    files: list[Path],
    out: Path,
    skeleton: str | None = None,
    fps: float | None = None,
    format: Literal["bvh", "glb"] | None = None,
) -> None:
    """Write motions as BVH or glTF files for Blender, Unreal Engine, MotionBuilder or the web.

    Args:
        files: Predictions (.npz), or arrays (.npy) of features or joints.
        out: A folder, or for one motion a file that ends in .bvh or .glb.
        skeleton: `humanml3d`, `kit` or a YAML file, for .npy files; by default their data set's, or told by shape.
        fps: Frames per second; by default the file's, its data set's or the skeleton's.
        format: `bvh`, or `glb` for binary glTF; by default what `out` ends in, else BVH.
    """
    from lightning_realign.motion.export import export_motions

    print("\n".join(str(path) for path in export_motions(files, out, skeleton=skeleton, fps=fps, form=format)))


def convert(file: Path, out: Path) -> None:
    """Turn a checkpoint that holds Python objects into safetensors; nothing in it is run.

    Args:
        file: A file that torch.save wrote.
        out: The .safetensors file to write.
    """
    from lightning_realign.convert import convert as run

    print(run(file, out))


def export_model(ckpt: Path, out: Path) -> None:
    """Write a trained model as a folder of config.json, model.safetensors and a card, as the Hugging Face Hub has it.

    Args:
        ckpt: Checkpoint of a training of this project.
        out: A new folder; every path of a checkpoint may name it instead.
    """
    from lightning_realign.hub import export_model as run

    print(run(ckpt, out))


def database(
    ckpt: Path, data: Path, out: Path | None = None, statistics: Path | None = None, text_cache: Path | None = None
) -> None:
    """Make the retrieval database of a ReMoDiffuse model from a data set's training split.

    Args:
        ckpt: The model's latest.pth.
        data: A folder in HumanML3D's form.
        out: The .npz file to write; by default the public name beside the checkpoint, where it is found.
        statistics: Folder of the data set's Mean.npy and Std.npy, where the model's own are not beside it.
        text_cache: Folder of cached text features.
    """
    from lightning_realign.generators import LoadOptions
    from lightning_realign.generators.remodiffuse_build import make_database

    print(make_database(ckpt, data, out, LoadOptions(statistics=statistics, text_cache=text_cache)))


def generate(
    prompt: list[str],
    ckpt: Path,
    out: Path,
    seconds: float = 4.0,
    samples: int = 1,
    reward: Path | None = None,
    mu: float = 0.0,
    eta: float = 0.0,
    scale: Literal["score", "posterior", "constant", "moment"] = "score",
    location: Literal["x_t", "x_prev", "x0", "x0_through"] = "x_t",
    start: float = 1.0,
    stop: float = 0.0,
    every: int = 1,
    max_norm: float | None = None,
    steps: int | None = None,
    scheduler: Literal["ddim", "ddpm", "lcm"] | None = None,
    ddim_eta: float = 0.0,
    candidates: int = 1,
    travel: int = 0,
    travel_start: float = 1.0,
    travel_stop: float = 0.0,
    particles: int = 1,
    temperature: float = 1.0,
    cfg_scale: float | None = None,
    seed: int = 1234,
    index: Path | None = None,
    family: str = "own",
    reward_family: Literal["own", "realign", "tmr"] = "own",
    statistics: Path | None = None,
    reward_statistics: Path | None = None,
    ensemble: list[Path] | None = None,
    physical: dict[str, float] | None = None,
    device: str = "auto",
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
        start: Beginning of the guided window, as the fraction of the trajectory still ahead.
        stop: Its end, likewise.
        every: Guide every k-th step of the window.
        max_norm: Largest norm of one motion's gradient; no limit by default.
        steps: Sampling steps; by default the generator's own, as for scheduler and cfg_scale.
        scheduler: `ddim`, `ddpm` or `lcm`.
        ddim_eta: Stochasticity of DDIM, 0 to 1.
        candidates: Motions drawn for each that is kept, the one the reward ranks first; above 1 it needs a reward.
        travel: How often each step of the travel window is undone with fresh noise and done again.
        travel_start: Beginning of that window, as start.
        travel_stop: Its end, likewise.
        particles: Particles for each motion, resampled by the reward on the way; above 1 it needs a reward.
        temperature: Of the reward where it weighs particles; the lower, the stronger.
        cfg_scale: Scale of classifier-free guidance.
        seed: The same prompt and seed give the same motion.
        index: The training split's index for eta; by default the one that a guided run of this reward cached.
        family: `own`, or which published generator the file holds, see docs/backbones.md.
        reward_family: Likewise of the reward.
        statistics: Folder of the generator's Mean.npy and Std.npy, for published files that do not hold theirs.
        reward_statistics: Likewise of the reward.
        ensemble: Checkpoints of further rewards; the mean with the reward guides, ranks and weighs.
        physical: Weights of the physical rewards foot_skating, jerk and penetration; location x0 or x0_through.
        device: Where to compute, such as cpu or cuda:1; auto is the GPU where CUDA finds one, else the CPU.
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
        start=start,
        stop=stop,
        every=every,
        max_norm=max_norm,
        steps=steps,
        scheduler=scheduler,
        ddim_eta=ddim_eta,
        candidates=candidates,
        travel=travel,
        travel_start=travel_start,
        travel_stop=travel_stop,
        particles=particles,
        temperature=temperature,
        cfg_scale=cfg_scale,
        seed=seed,
        index=index,
        family=family,
        reward_family=reward_family,
        statistics=statistics,
        reward_statistics=reward_statistics,
        ensemble=ensemble,
        physical=physical,
        device=device,
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


def toy(out: Path, points: int = 6000, steps: int = 200, seed: int = 1234) -> None:
    """Measure every way of guiding in the plane, where the exact answer is known.

    Args:
        out: Folder of toy.png, flow.png, table.md and table.csv.
        points: Points drawn for each way of guiding.
        steps: Sampling steps of the table.
        seed: The same seed gives the same figures.
    """
    from lightning_realign.toy.run import run_toy

    print(run_toy(out, points, steps, seed).table, end="")


def toy_law(out: Path, points: int = 10_000, seeds: int = 50, schedule: Literal["cosine", "linear"] = "cosine") -> None:
    """Measure over many seeds how near to the exactly guided law each way of guiding in the plane comes.

    Args:
        out: The receipt (.json) to write, and beside it the table (.md); an unfinished one is continued.
        points: Points of every cloud; clouds of particles have a fifth of them.
        seeds: Clouds for each way of guiding.
        schedule: The noise schedule; both end in noise.
    """
    from lightning_realign.toy.law import default_plan, run_law

    print(run_law(out, default_plan(points, seeds, schedule), report=print), end="")


def report(receipts: list[Path], out: Path) -> None:
    """Print the paper's tables of generation and retrieval for several runs, beside published figures that compare.

    Args:
        receipts: Files table-*.json or retrieval-*.json of validate and test runs, or the folders that hold them.
        out: Folder of report.md, report.tex, report.csv, generation.csv, retrieval.csv and report.png.
    """
    from lightning_realign.report.summary import write_report

    print(write_report(receipts, out), end="")


def rescore(record: Path, out: Path, pool: int = 32) -> None:
    """Compute the figures of a test run again from its record, without generating anything.

    Args:
        record: A samples-*.safetensors, or the folder that holds one.
        out: The receipt (.json) to write.
        pool: Size of the pools of R-Precision.
    """
    from lightning_realign.evaluation.tools import rescore as run

    print(run(record, out, pool), end="")


def difference(
    record: Path,
    other: Path | None = None,
    row: str = "guided",
    against: str = "unguided",
    resamples: int = 2000,
    unit: Literal["sample", "caption"] = "sample",
) -> None:
    """Compare two rows of one test run, or of two, sample by sample with bootstrap intervals.

    Args:
        record: A samples-*.safetensors, or the folder that holds one.
        other: The record of the other run, where `row` is taken from that.
        row: The row of interest.
        against: The row to compare with.
        resamples: Resamples of the bootstrap.
        unit: What is drawn: samples, or captions with all their samples.
    """
    from lightning_realign.evaluation.tools import compare_rows

    print(compare_rows(record, other, row, against, resamples, unit), end="")


TOOLS: Mapping[str, tuple[Callable[..., Any], str | None]] = {
    "generate": (generate, "prompt"),
    "render": (render, "files"),
    "compare": (compare, None),
    "sweep": (sweep, "file"),
    "export": (export, "files"),
    "toy": (toy, None),
    "toy-law": (toy_law, None),
    "report": (report, "receipts"),
    "rescore": (rescore, "record"),
    "difference": (difference, "record"),
    "convert": (convert, "file"),
    "database": (database, None),
    "export-model": (export_model, "ckpt"),
}
