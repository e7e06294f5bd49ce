"""Turning motions with captions into a data set in HumanML3D's format."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from lightning_realign.data.formats import MOTION_FOLDER, SPLITS, TEXT_FOLDER
from lightning_realign.files.atomic import save_array_atomic, write_lines_atomic, write_text_atomic
from lightning_realign.data.labels import LABEL_FILE
from lightning_realign.data.build.mirror import MirroredSource
from lightning_realign.data.build.sources import UP_AXIS, JointFolder, MotionSource
from lightning_realign.data.build.resume import Done, PartialBuild, open_partial, source_identity
from lightning_realign.data.skeletons import write_skeleton
from lightning_realign.errors import DataError, RealignError
from lightning_realign.motion import Skeleton, extract_features, feature_statistics, recover_joints
from lightning_realign.motion.kinematics import bone_lengths

JOINT_FOLDER = "new_joints"


@dataclass(frozen=True)
class BuildReport:
    """What a build wrote.

    out: the folder. splits: motions per split. left_out: id and reason of every motion left out. resumed: how many
    motions an earlier, stopped build had done.
    """

    out: Path
    splits: Mapping[str, int]
    left_out: tuple[tuple[str, str], ...]
    resumed: int = 0

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {split}" for split, count in self.splits.items())
        before = f"; {self.resumed} were done before" if self.resumed else ""
        return f"{self.out}: {counts} motions; {len(self.left_out)} left out (listed in left_out.txt){before}"


def build_from_joints(
    joints_dir: Path, out: Path, skeleton: str | None = None, progress: bool = True, mirror: bool = False
) -> BuildReport:
    """Build a data set in HumanML3D's layout from joint positions, captions and split lists.

    Read are `joints/ID.npy` (positions [T, J, 3], y up), `texts/ID.txt` (lines `caption#word/POS ...#start#end`, or
    captions without tokens, which get some), `train.txt`, `val.txt`, `test.txt`, and optionally `metadata.json` and
    `labels.csv`. What is written is listed in `build_from_source`.

    Args:
        joints_dir: the source folder.
        out: the folder to make; it must not exist, or be empty.
        skeleton: see `load_skeleton`; by default what metadata.json or skeleton.yaml says, else "humanml3d".
        progress: whether to show a progress bar.
        mirror: whether to add every motion's mirror image `M<id>`.

    Returns:
        The counts, and what was left out.

    Raises:
        DataError: the source cannot be used, a split would be empty, or `out` holds something.
        FeatureSpecError: the source is for another skeleton, unit or up axis.
        ConfigError: there is no skeleton of that name.
    """
    source: MotionSource = JointFolder(Path(joints_dir), skeleton)
    return build_from_source(MirroredSource(source) if mirror else source, Path(out), progress)


def build_from_source(source: MotionSource, out: Path, progress: bool = True) -> BuildReport:
    """Build a data set in HumanML3D's layout from any source of motions.

    Written are `new_joint_vecs/ID.npy` [T-1, D], `new_joints/ID.npy` [T-1, J, 3] (recovered from the features, as
    published), `texts/`, the split lists and `all.txt`, `Mean.npy`, `Std.npy`, `metadata.json`, `left_out.txt`, and
    for a user's own skeleton `skeleton.yaml`.

    Two points differ from the published sets. Mean and Std are those of the *training* split, not of all motions, so
    that validation and test stay unseen (metadata.json says so under "statistics"). And the source's minimum length
    counts positions. A motion has one feature vector less, so the data set's own minimum is one lower.

    Motions that are missing, misshapen, not finite, too short, degenerate or without a valid caption are left out and
    listed in `left_out.txt`, one `ID<tab>reason` per line. The data set appears under `out` only when complete.

    A build that is stopped, even killed, leaves a hidden folder beside `out`. The next build of the same source
    continues in it and gives the same bytes. A DataError in the source removes that folder.

    Args:
        source: the motions.
        out: the folder to make; it must not exist, or be empty.
        progress: whether to show a progress bar.

    Returns:
        The counts, and what was left out.

    Raises:
        DataError: a split would be empty, or `out` holds something, cannot be written, or is being built.
    """
    try:
        with open_partial(out) as partial:
            try:
                return _build(source, out, partial, progress)
            except RealignError:
                partial.discard()
                raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"{out}: cannot be written ({reason}); make room or choose another --out; the same command goes on where "
            "it stopped"
        ) from None


def _build(source: MotionSource, out: Path, partial: PartialBuild, progress: bool) -> BuildReport:
    done = partial.resume(source_identity(source))
    left_out = _convert_motions(source, partial, done, progress)
    kept = _keep(source.splits, left_out, source.where)
    _write_lists(partial.data, kept, left_out)
    training = (np.load(path, allow_pickle=False) for path in _motion_paths(partial.data, kept["train"]))
    mean, std = feature_statistics(training, source.skeleton)
    save_array_atomic(partial.data / "Mean.npy", mean.astype(np.float32))
    save_array_atomic(partial.data / "Std.npy", std.astype(np.float32))
    _write_metadata(partial.data, source, kept, left_out)
    write_skeleton(partial.data, source.skeleton)
    if source.labels is not None:
        shutil.copyfile(source.labels, partial.data / LABEL_FILE)
    partial.finish()
    return BuildReport(out, {split: len(ids) for split, ids in kept.items()}, tuple(left_out.items()), len(done))


def _convert_motions(
    source: MotionSource, partial: PartialBuild, done: Mapping[str, Done], progress: bool
) -> dict[str, str]:
    """Write features, joints and captions of every usable motion; return the reasons of the others by id."""
    for item in done.values():
        source.lines.origins.update(item.origins)
    reasons = {motion_id: item.left_out for motion_id, item in done.items()}
    listed = [motion_id for split in SPLITS for motion_id in source.splits[split]]
    for motion_id in tqdm(listed, desc="motions", unit="motion", disable=not progress):
        if motion_id in done:
            continue
        files, reason = {}, None
        try:
            files = _motion_files(source, motion_id)
        except DataError as error:
            reason = " ".join(str(error).split())
        reasons[motion_id] = reason
        partial.add(motion_id, files, reason, tuple(sorted(source.lines.origins)))
    left_out = {motion_id: reason for motion_id in listed if (reason := reasons[motion_id]) is not None}
    return left_out | dict(source.surplus())


@torch.inference_mode()
def _motion_files(source: MotionSource, motion_id: str) -> dict[str, bytes]:
    """The files of a motion by their names in the data set."""
    captions = source.captions(motion_id)
    joints = _checked(*source.joints(motion_id), source.skeleton, source.metadata.min_length)
    features = _features(joints, source.skeleton, motion_id)
    return {
        f"{MOTION_FOLDER}/{motion_id}.npy": _npy(features.numpy()),
        f"{JOINT_FOLDER}/{motion_id}.npy": _npy(recover_joints(features, source.skeleton).numpy()),
        f"{TEXT_FOLDER}/{motion_id}.txt": captions,
    }


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _checked(path: Path, array: NDArray[Any], spec: Skeleton, min_length: int) -> torch.Tensor:
    if array.ndim != 3 or array.shape[1:] != (spec.num_joints, 3):
        raise DataError(
            f"{path}: joints have shape {array.shape}, skeleton {spec.name!r} needs (T, {spec.num_joints}, 3)"
        )
    if len(array) < max(min_length, 2):
        raise DataError(f"{path}: motion has {len(array)} frames; the minimum length is {max(min_length, 2)}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        joints = torch.from_numpy(array.astype(np.float32))
    if not joints.isfinite().all():
        raise DataError(f"{path}: joints have NaN or infinite entries; repair the motion")
    return joints


def _features(joints: torch.Tensor, spec: Skeleton, motion_id: str) -> torch.Tensor:
    lengths = bone_lengths(joints, spec)[:, 1:]
    unusable = ~(lengths.isfinite() & (lengths > 0))
    if unusable.any():
        frame, joint = unusable.nonzero()[0].tolist()
        raise DataError(
            f"motion {motion_id}: the bone of {spec.joints[joint + 1]} has length {lengths[frame, joint]:g} in frame "
            f"{frame}; repair the motion"
        )
    return extract_features(joints, spec)


def _keep(splits: Mapping[str, Sequence[str]], left_out: Mapping[str, str], source: Path) -> dict[str, list[str]]:
    kept = {split: [motion_id for motion_id in ids if motion_id not in left_out] for split, ids in splits.items()}
    for split, ids in kept.items():
        if not ids:
            first = splits[split][0]
            raise DataError(
                f"{source / split}.txt: none of its {len(splits[split])} motions can be used; first, {left_out[first]}"
            )
    return kept


def _motion_paths(root: Path, ids: Iterable[str]) -> Iterator[Path]:
    return (root / MOTION_FOLDER / f"{motion_id}.npy" for motion_id in ids)


def _write_lists(out: Path, kept: Mapping[str, Sequence[str]], left_out: Mapping[str, str]) -> None:
    for split, ids in kept.items():
        write_lines_atomic(out / f"{split}.txt", ids)
    write_lines_atomic(out / "all.txt", (motion_id for ids in kept.values() for motion_id in ids))
    write_lines_atomic(out / "left_out.txt", (f"{motion_id}\t{reason}" for motion_id, reason in left_out.items()))


def _write_metadata(
    out: Path, source: MotionSource, kept: Mapping[str, Sequence[str]], left_out: Mapping[str, str]
) -> None:
    metadata = replace(source.metadata, min_length=max(source.metadata.min_length - 1, 1))
    content = {
        **metadata.extra,
        "name": metadata.name,
        "fps": metadata.fps,
        "unit": source.skeleton.unit,
        "up": UP_AXIS,
        "skeleton": source.skeleton.name,
        "min_length": metadata.min_length,
        "max_length": metadata.max_length,
        "pos_tagger": source.pos_tagger,
        "statistics": "Mean and Std over the training split, Std averaged within each feature block",
        "motions": {split: len(ids) for split, ids in kept.items()},
        "left_out": len(left_out),
    }
    write_text_atomic(out / "metadata.json", json.dumps(content, indent=2) + "\n")
