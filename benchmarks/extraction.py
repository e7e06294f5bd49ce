"""Clips per second from joints to features, one clip a call as `data build` has it, and agreement with the peers' code.

    python benchmarks/extraction.py
    python benchmarks/extraction.py --peer ../HumanML3D

The peer is a checkout of github.com/EricGuo5513/HumanML3D, whose `process_file` then gets the same clips in the same
process: the code of its notebook is run. The clips are HumanML3D's samples and 50 captured motions where
REALIGN_TEST_DATA names a folder that has them, otherwise synthetic motions. `--golden FILE` keeps a few projections of
the peer's features, for tests without the peer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_realign.data.synthetic.dataset import make_motion
from lightning_realign.errors import ConfigError, RealignError
from lightning_realign.files.atomic import write_text_atomic
from lightning_realign.motion import extract_features, load_skeleton
from lightning_realign.report import format_table

MOTIONS, PROJECTIONS = 50, 4
REFERENCE = "012314"
# What the notebook sets for HumanML3D, besides the skeleton: feet, face and leg joints, and the contact threshold.
SETTINGS = {"l_idx1": 5, "l_idx2": 8, "fid_r": [8, 11], "fid_l": [7, 10], "face_joint_indx": [2, 1, 17, 16]}
THRESHOLD = 0.002
TOLERANCE = 1e-3
Clips = Mapping[str, NDArray[np.float32]]
Extract = Callable[[NDArray[np.float32]], NDArray[Any]]


def real_clips(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Joints [T, 22, 3] in metres of HumanML3D's samples and of every 55th captured motion, by name."""
    samples = sorted((folder / "humanml3d_samples" / "new_joints").glob("*.npy"))
    clips = {path.stem: np.load(path).astype(np.float32) for path in samples}
    entries = json.loads((folder / "bandai_namco" / "index.json").read_text(encoding="utf-8"))
    with np.load(folder / "bandai_namco" / "positions.npz") as arrays:
        positions = arrays["positions"]
    for entry in entries[:: len(entries) // MOTIONS][:MOTIONS]:
        rows = positions[entry["start"] : entry["start"] + entry["length"]]
        clips[entry["name"]] = rows.astype(np.float32) * np.float32(0.00025)
    return clips


def synthetic_clips() -> dict[str, NDArray[np.float32]]:
    """As many motions of the built-in generator."""
    skeleton = load_skeleton("humanml3d")
    return {
        f"synthetic {place}": make_motion(skeleton, 0, "train", place).joints.astype(np.float32)
        for place in range(MOTIONS)
    }


def ours(joints: NDArray[np.float32]) -> NDArray[np.float32]:
    """The features as `data build` extracts them."""
    with torch.inference_mode():
        return extract_features(torch.from_numpy(joints), load_skeleton("humanml3d")).numpy()


def load_peer(folder: Path, reference: NDArray[np.float32]) -> Extract:
    """The `process_file` of a checkout, which gives motions the bone lengths of the pose `reference` [22, 3].

    Raises:
        ConfigError: there is no notebook with such a function.
    """
    path = folder / "motion_representation.ipynb"
    if not path.is_file():
        raise ConfigError(f"{path} does not exist: give the folder of a checkout of EricGuo5513/HumanML3D")
    # Names of the time the code was written, which NumPy has dropped.
    vars(np).setdefault("float", float)
    sys.path.insert(0, str(folder.resolve()))
    names: dict[str, Any] = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if "process_file" in names:
            break
        exec("".join(cell["source"]), names)
    if "process_file" not in names:
        raise ConfigError(f"{path} defines no process_file: give a checkout of EricGuo5513/HumanML3D")
    offsets, chains = torch.from_numpy(names["t2m_raw_offsets"]), names["t2m_kinematic_chain"]
    skeleton = names["Skeleton"](offsets, chains, "cpu")
    names.update(SETTINGS, n_raw_offsets=offsets, kinematic_chain=chains)
    names["tgt_offsets"] = skeleton.get_offsets_joints(torch.from_numpy(reference))
    # A copy, as it changes what it gets.
    return lambda joints: np.asarray(names["process_file"](joints.copy(), THRESHOLD)[0])


def uniform_pose() -> NDArray[np.float32]:
    """A pose with the bone lengths of HumanML3D's uniform skeleton: the rest pose."""
    skeleton = load_skeleton("humanml3d")
    pose = np.zeros((skeleton.num_joints, 3))
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            pose[joint] = pose[parent] + np.array(skeleton.raw_offsets[joint]) * skeleton.target_lengths[joint]
    return pose.astype(np.float32)


def reference_pose(clips: Clips) -> NDArray[np.float32]:
    """The first pose of a clip that the peers published, or the rest pose."""
    return clips[REFERENCE][0] if REFERENCE in clips else uniform_pose()


def seconds_of(extract: Extract, clips: Clips) -> float:
    """Processor time of all clips, one a call: what else the machine does counts little."""
    begin = time.process_time()
    for joints in clips.values():
        extract(joints)
    return time.process_time() - begin


def compare(one: NDArray[Any], other: NDArray[Any]) -> tuple[float, int]:
    """The largest difference, and the frames left out of it: those whose yaw velocity has the other sign only.

    There the facing direction passes -z, where the published code flips the sign of one frame's velocity.
    """
    difference = np.abs(one.astype(np.float64) - other)
    flipped = (difference[:, 0] > TOLERANCE) & (np.abs(one[:, 0] + other[:, 0]) <= TOLERANCE)
    difference[flipped, 0] = 0
    return float(difference.max()), int(flipped.sum())


def projections(features: NDArray[Any]) -> list[float]:
    """A few numbers that any wrong channel changes: means over frames of sums over channels c and frames t.

    Number k is mean_t sum_c f[t, c] cos((k + 1) (c + 1)) cos(k t / 10); it changes by about as much as a channel does.
    """
    frames, channels = (np.arange(size) for size in features.shape)
    found = []
    for k in range(PROJECTIONS):
        weighted = features.astype(np.float64) @ np.cos((k + 1) * (channels + 1.0))
        found.append(round(float(np.mean(weighted * np.cos(k * frames / 10))), 6))
    return found


def table_of(clips: Clips, ways: Mapping[str, Extract], repeats: int) -> str:
    """Clips per second of processor time; medians of several turns."""
    turns = [{name: seconds_of(extract, clips) for name, extract in ways.items()} for _ in range(repeats)]
    first = next(iter(ways))
    rows: list[list[object]] = []
    for name in ways:
        seconds = statistics.median(turn[name] for turn in turns)
        ratio = statistics.median(turn[name] / turn[first] for turn in turns)
        rows.append([name, seconds, len(clips) / seconds, ratio])
    return format_table(["way", "processor s", "clips/s", "times ours"], rows)


def arguments(args: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Clips per second from joints to features, beside the peers' code.")
    parser.add_argument("--peer", type=Path, help="a checkout of EricGuo5513/HumanML3D; its code is run")
    parser.add_argument("--repeats", type=int, default=5, help="medians are printed")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--golden", type=Path, help="a JSON file to write the peer's projections to")
    return parser.parse_args(args)


def main(args: Sequence[str] | None = None) -> None:
    """Measure and print."""
    given = arguments(args)
    torch.set_num_threads(given.threads)
    folder = os.environ.get("REALIGN_TEST_DATA")
    clips = real_clips(Path(folder)) if folder else synthetic_clips()
    ways: dict[str, Extract] = {"ours": ours}
    print(f"{len(clips)} clips, {sum(map(len, clips.values()))} frames, load {os.getloadavg()[0]:.1f}")
    if given.peer:
        peer = ways["peer"] = load_peer(given.peer, reference_pose(clips))
        expected = {name: peer(joints) for name, joints in clips.items()}
        found = [compare(ours(joints), expected[name]) for name, joints in clips.items()]
        largest, flipped = max(value for value, _ in found), sum(count for _, count in found)
        print(f"largest difference {largest:.1e} in any channel; {flipped} frames with the peer's flipped yaw velocity")
        if given.golden:
            lines = ",\n".join(f"{json.dumps(name)}: {projections(values)}" for name, values in expected.items())
            write_text_atomic(given.golden, f"{{\n{lines}\n}}\n")
    print(table_of(clips, ways, given.repeats))


if __name__ == "__main__":
    try:
        main()
    except RealignError as error:
        sys.exit(f"error: {error}")
