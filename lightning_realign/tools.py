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


def data_build(
    out: Path,
    joints: Path | None = None,
    bvh: Path | None = None,
    skeleton: str | None = None,
    captions: Path | None = None,
    mapping: str | None = None,
    unit: str | None = None,
    up: str | None = None,
    splits: Path | None = None,
    seed: int = 1234,
    min_length: int | None = None,
) -> None:
    """Turn a folder of joint positions or BVH files, with captions, into a HumanML3D-format data set.

    Args:
        out: The folder to make; it must not exist yet.
        joints: Folder with joints/*.npy [T, J, 3], texts/*.txt, train|val|test.txt and metadata.json.
        bvh: Folder of BVH files; all options below but skeleton are for these alone.
        skeleton: `humanml3d` or `kit`; by default what metadata.json or the mapping says.
        captions: CSV file (name,caption[,split]) or folder of text files; by default captions.csv or texts/ in the
            folder.
        mapping: Name of a joint mapping or a YAML file; by default the one shipped that fits.
        unit: `metre`, `centimetre`, `millimetre`, `inch` or the metres per unit; detected by default.
        up: The up axis, such as `y` or `z`; detected by default.
        splits: Folder with train.txt, val.txt and test.txt; by default those in the folder, else the CSV's column, else
            drawn.
        seed: Seed of the splits drawn.
        min_length: Shortest motion, in frames of the skeleton's rate.
    """
    from lightning_realign.data.build import build_from_joints, build_from_source
    from lightning_realign.errors import ConfigError

    if bvh is None:
        if joints is None:
            raise ConfigError("data build needs a source; give --joints FOLDER or --bvh FOLDER")
        own = {
            "captions": captions,
            "mapping": mapping,
            "unit": unit,
            "up": up,
            "splits": splits,
            "min_length": min_length,
        }
        if given := [name for name, value in own.items() if value is not None]:
            raise ConfigError(f"{given[0]} is for BVH files; leave it out, or give --bvh FOLDER")
        print(build_from_joints(joints, out, skeleton=skeleton))
        return
    if joints is not None:
        raise ConfigError("joints and bvh are both given; leave one of them out")
    from lightning_realign.data.bvh_source import BvhFolder

    source = BvhFolder(
        bvh,
        captions=captions,
        mapping=mapping,
        unit=unit,
        up=up,
        splits=splits,
        seed=seed,
        skeleton=skeleton,
        min_length=min_length,
    )
    print(source.summary)
    print(build_from_source(source, out))


def export(files: list[Path], out: Path, skeleton: str | None = None, fps: float | None = None) -> None:
    """Write motions as BVH files for Blender, Unreal Engine or MotionBuilder.

    Args:
        files: Predictions (.npz), or arrays (.npy) of features or joints.
        out: A folder, or for one motion a file that ends in .bvh.
        skeleton: `humanml3d` or `kit`, for .npy files; by default told from their shape.
        fps: Frames per second; by default the file's, its data set's or the skeleton's.
    """
    from lightning_realign.motion.bvh_export import export_bvh

    print("\n".join(str(path) for path in export_bvh(files, out, skeleton=skeleton, fps=fps)))


def data_doctor(root: Path, json: bool = False, quarantine: bool = False) -> None:
    """Look a data set over; exit code 0: fine or notes, 1: warnings, 2: errors.

    Args:
        root: The data set's folder.
        json: Print the report as JSON.
        quarantine: List motions with errors or warnings in quarantine.txt, which the data modules leave out.
    """
    from json import dumps

    from lightning_realign.data import doctor
    from lightning_realign.data.formats import QUARANTINE_FILE

    checkup = doctor.examine(root)
    print(dumps(checkup.as_dict(), indent=2) if json else checkup)
    if quarantine:
        listed = doctor.quarantine(checkup)
        if not json:
            print(f"quarantine: {listed} motions are left out by {root / QUARANTINE_FILE}")
    if checkup.exit_code:
        raise SystemExit(checkup.exit_code)


def data_pack(root: Path) -> None:
    """Put each split into one memory-mapped file under packed/, which the data modules then read.

    Args:
        root: The data set's folder.
    """
    from lightning_realign.data.doctor import find_skeleton
    from lightning_realign.data.packed import pack

    print(pack(root, find_skeleton(root).num_features))


def convert(file: Path, out: Path) -> None:
    """Turn a checkpoint that holds Python objects into safetensors; nothing in it is run.

    Args:
        file: A file that torch.save wrote.
        out: The .safetensors file to write.
    """
    from lightning_realign.convert import convert as run

    print(run(file, out))


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
    start: float = 1.0,
    stop: float = 0.0,
    every: int = 1,
    max_norm: float | None = None,
    steps: int = 50,
    scheduler: Literal["ddim", "ddpm"] = "ddim",
    ddim_eta: float = 0.0,
    cfg_scale: float = 7.5,
    seed: int = 1234,
    index: Path | None = None,
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
        steps: Sampling steps.
        scheduler: `ddim` or `ddpm`.
        ddim_eta: Stochasticity of DDIM, 0 to 1.
        cfg_scale: Scale of classifier-free guidance.
        seed: The same prompt and seed give the same motion.
        index: The training split's index for eta; by default the one that a guided run of this reward cached.
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
        cfg_scale=cfg_scale,
        seed=seed,
        index=index,
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


def report(receipts: list[Path], out: Path) -> None:
    """Put the tables of several validate and test runs into one, with a plot.

    Args:
        receipts: Files table-val.json or table-test.json, or the folders that hold them.
        out: Folder of report.md, report.tex, report.csv and report.png.
    """
    from lightning_realign.report.receipts import write_report

    print(write_report(receipts, out), end="")


TOOLS: Mapping[str, tuple[Callable[..., Any], str | None]] = {
    "generate": (generate, "prompt"),
    "render": (render, "files"),
    "compare": (compare, None),
    "sweep": (sweep, None),
    "export": (export, "files"),
    "toy": (toy, None),
    "report": (report, "receipts"),
    "convert": (convert, "file"),
}
DATA_TOOLS: Mapping[str, tuple[Callable[..., Any], str | None]] = {
    "synth": (data_synth, None),
    "build": (data_build, None),
    "doctor": (data_doctor, "root"),
    "pack": (data_pack, "root"),
}
