"""The tools behind `realign data ACTION`. Each imports what it needs when it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal


def synth(
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


def build(
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
    mirror: bool = False,
) -> None:
    """Turn a folder of joint positions or BVH files, with captions, into a HumanML3D-format data set.

    Args:
        out: The folder to make; it must not exist yet.
        joints: Folder with joints/*.npy [T, J, 3], texts/*.txt, train|val|test.txt and metadata.json.
        bvh: Folder of BVH files; all options below but skeleton and mirror are for these alone.
        skeleton: `humanml3d`, `kit` or the YAML file of an own one; by default what metadata.json or the mapping says.
        captions: CSV file (name,caption[,split]) or folder of text files; by default captions.csv or texts/ in the
            folder.
        mapping: Name of a joint mapping or a YAML file; by default the one shipped that fits.
        unit: `metre`, `centimetre`, `millimetre`, `inch` or the metres per unit; detected by default.
        up: The up axis, such as `y` or `z`; detected by default.
        splits: Folder with train.txt, val.txt and test.txt; by default those in the folder, else the CSV's column, else
            drawn.
        seed: Seed of the splits drawn.
        min_length: Shortest motion, in frames of the skeleton's rate.
        mirror: Add every motion's mirror image M<id>, left and right swapped in its captions.
    """
    from lightning_realign.data.build.build import build_from_source
    from lightning_realign.data.build.mirror import MirroredSource
    from lightning_realign.data.build.sources import JointFolder, MotionSource
    from lightning_realign.errors import ConfigError

    source: MotionSource
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
        source = JointFolder(joints, skeleton)
    elif joints is not None:
        raise ConfigError("joints and bvh are both given; leave one of them out")
    else:
        from lightning_realign.data.build.bvh import BvhFolder

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
    _print_build(lambda: build_from_source(MirroredSource(source) if mirror else source, out), out)


def _print_build(build: Callable[[], object], out: Path) -> None:
    """Run a build and print its report; where the user stops it, how to go on."""
    from lightning_realign.data.build.resume import partial_folder

    try:
        print(build())
    except KeyboardInterrupt:
        print(
            f"stopped: {out} is not complete; the same command goes on; to give up, remove {partial_folder(out)}",
            file=sys.stderr,
        )
        raise SystemExit(130) from None


def doctor(root: Path, json: bool = False, quarantine: bool = False, evaluator: Path | None = None) -> None:
    """Look a data set over; exit code 0: fine or notes, 1: warnings, 2: errors.

    Args:
        root: The data set's folder.
        json: Print the report as JSON.
        quarantine: List motions with errors or warnings in quarantine.txt, which the data modules leave out.
        evaluator: Folder of an evaluator's mean.npy and std.npy, to be compared with the motions.
    """
    from json import dumps

    from lightning_realign.data.check.doctor import examine
    from lightning_realign.data.check.doctor import quarantine as leave_out
    from lightning_realign.data.formats import QUARANTINE_FILE

    checkup = examine(root, evaluator)
    print(dumps(checkup.as_dict(), indent=2) if json else checkup)
    if quarantine:
        listed = leave_out(checkup)
        if not json:
            print(f"quarantine: {listed} motions are left out by {root / QUARANTINE_FILE}")
    if checkup.exit_code:
        raise SystemExit(checkup.exit_code)


def pack(root: Path) -> None:
    """Put each split into one memory-mapped file under packed/, which the data modules then read.

    Args:
        root: The data set's folder.
    """
    from lightning_realign.data.packed.packed import pack as run
    from lightning_realign.data.skeletons import find_skeleton

    print(run(root, find_skeleton(root).num_features))


def tasks(
    root: Path,
    out: Path,
    split: Literal["val", "test"] = "test",
    protocol: Literal["fixed", "published"] = "fixed",
    replications: int = 20,
    captions: int = 0,
    repeats: int = 30,
    seed: int = 1234,
    max_length: int = 200,
) -> None:
    """List captions and lengths that a test run asks for, so that any method can make motions for it.

    Args:
        root: The data set's folder.
        out: The table (.csv) to write.
        split: The motions.
        protocol: The first caption and a fixed crop, or both drawn anew per replication.
        replications: Independent repetitions.
        captions: Captions that MultiModality is measured on; the field has 100.
        repeats: Motions of each of those captions.
        seed: The data module's seed.
        max_length: The data module's max_length.
    """
    from lightning_realign.data.tasks import write_tasks

    count = write_tasks(root, out, split, protocol, replications, captions, repeats, seed, max_length)
    print(f"{out}: {count} motions to make")


TOOLS: Mapping[str, tuple[Callable[..., Any], str | None]] = {
    "synth": (synth, None),
    "build": (build, None),
    "doctor": (doctor, "root"),
    "pack": (pack, "root"),
    "tasks": (tasks, "root"),
}
