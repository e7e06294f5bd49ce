"""Looking a data set over before training on it: what is missing, broken or suspicious, and how bad that is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from lightning_realign.data.check.motion import (
    Problem,
    Severity,
    check_captions,
    check_file,
    check_length,
    check_motion,
    check_tags,
)
from lightning_realign.data.check.statistics import check_statistics
from lightning_realign.data.formats import (
    MOTION_FOLDER,
    QUARANTINE_FILE,
    SPLITS,
    TEXT_FOLDER,
    Caption,
    Metadata,
    read_metadata,
    read_quarantine,
    read_split,
)
from lightning_realign.data.packed.packed import has_packed, verify_packed
from lightning_realign.data.skeletons import find_skeleton
from lightning_realign.errors import DataError
from lightning_realign.files.atomic import write_lines_atomic
from lightning_realign.motion import Skeleton

EXIT_CODES: Mapping[Severity, int] = {"note": 0, "warning": 1, "error": 2}
SHOWN_IDS = 5


@dataclass(frozen=True)
class Finding:
    """All findings of one kind.

    detail: of the first one. ids: the motions concerned; none if it concerns the data set as a whole.
    """

    severity: Severity
    kind: str
    detail: str
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checkup:
    """What a data set holds in each split, and what was found."""

    root: Path
    skeleton: str
    counts: Mapping[str, Mapping[str, float]]
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """0: nothing but notes; 1: warnings; 2: errors."""
        return max((EXIT_CODES[finding.severity] for finding in self.findings), default=0)

    def suspects(self) -> dict[str, str]:
        """Motions with an error or a warning of their own, and the first reason."""
        found: dict[str, str] = {}
        for finding in self.findings:
            if finding.severity != "note":
                found.update({motion_id: finding.kind for motion_id in finding.ids if motion_id not in found})
        return found

    def as_dict(self) -> dict[str, Any]:
        """The checkup as plain values, for JSON."""
        findings = [
            {"severity": item.severity, "kind": item.kind, "detail": item.detail, "ids": list(item.ids)}
            for item in self.findings
        ]
        return {
            "root": str(self.root),
            "skeleton": self.skeleton,
            "splits": {name: dict(counts) for name, counts in self.counts.items()},
            "findings": findings,
            "exit_code": self.exit_code,
        }

    def __str__(self) -> str:
        lines = [f"{self.root} (skeleton {self.skeleton})"]
        for name, counts in self.counts.items():
            lines.append(
                f"  {name:5} {counts['listed']:6.0f} motions, {counts['usable']:6.0f} usable, "
                f"{counts['captions']:6.0f} captions, {counts['minutes']:7.1f} minutes"
            )
        for severity in get_args(Severity):
            lines.extend(_finding_line(item) for item in self.findings if item.severity == severity)
        worst = {0: "nothing wrong", 1: "warnings", 2: "errors"}[self.exit_code]
        return "\n".join([*lines, f"result: {worst}"])


def _finding_line(item: Finding) -> str:
    if not item.ids:
        return f"  {item.severity:7} {item.kind}: {item.detail}"
    ids = ", ".join(item.ids[:SHOWN_IDS]) + (", ..." if len(item.ids) > SHOWN_IDS else "")
    return f"  {item.severity:7} {item.kind}: {len(item.ids)} ({ids}); first, {item.detail}"


@dataclass
class _Notebook:
    """Collects problems under their kinds."""

    kinds: dict[tuple[Severity, str], tuple[str, list[str]]] = field(default_factory=dict)

    def add(self, problem: Problem, ids: Sequence[str] = ()) -> None:
        _, found = self.kinds.setdefault((problem.severity, problem.kind), (problem.detail, []))
        found.extend(ids)

    def findings(self) -> tuple[Finding, ...]:
        return tuple(Finding(*key, detail, tuple(ids)) for key, (detail, ids) in self.kinds.items())


def examine(root: Path, evaluator: Path | None = None) -> Checkup:
    """Look a data set over. Motions in quarantine.txt are not looked at again.

    Args:
        root: the data set's folder.
        evaluator: folder of an evaluator's mean.npy and std.npy, which are compared with the motions.

    Raises:
        DataError: it is no data set's folder, or its skeleton is not known.
    """
    if not root.is_dir() or not (root / MOTION_FOLDER).is_dir():
        raise DataError(f"{root}: is not a data set's folder, which has {MOTION_FOLDER}/ and {TEXT_FOLDER}/")
    skeleton = find_skeleton(root)
    metadata = read_metadata(root, Metadata(root.name, skeleton.fps, skeleton.name, skeleton.min_length))
    notes = _Notebook()
    quarantine = read_quarantine(root)
    splits = _read_splits(root, quarantine, notes)
    if quarantine:
        notes.add(Problem("note", "quarantined", f"listed in {QUARANTINE_FILE}, left out by loaders"), [*quarantine])
    _check_surplus(root, splits, notes)
    counts, training = {}, []
    for name, ids in splits.items():
        kept = [motion_id for motion_id in ids if motion_id not in quarantine]
        counts[name], motions = _check_split(root, kept, skeleton, metadata, notes)
        counts[name] = {"listed": len(ids), **counts[name]}
        if name == "train":
            training = motions
    for problem in check_statistics(root, training, skeleton, evaluator):
        notes.add(problem)
    _check_packed(root, splits, skeleton, notes)
    _note_source(metadata, notes)
    return Checkup(root, skeleton.name, counts, notes.findings())


def quarantine(checkup: Checkup) -> int:
    """Add the suspects to quarantine.txt, and return how many motions it then lists.

    Raises:
        DataError: the file there is not text.
    """
    listed = {**read_quarantine(checkup.root), **checkup.suspects()}
    if listed:
        lines = (f"{motion_id}\t{reason}" for motion_id, reason in listed.items())
        write_lines_atomic(checkup.root / QUARANTINE_FILE, lines)
    return len(listed)


def _read_splits(root: Path, quarantine: Container[str], notes: _Notebook) -> dict[str, list[str]]:
    splits = {}
    for name in SPLITS:
        try:
            splits[name] = read_split(root / f"{name}.txt")
        except DataError as error:
            notes.add(Problem("error", f"split list {name}.txt", str(error)))
    places = defaultdict(list)
    for name, ids in splits.items():
        for motion_id in ids:
            places[motion_id].append(name)
    shared = {motion_id: names for motion_id, names in places.items() if len(names) > 1 and motion_id not in quarantine}
    if shared:
        first = " and ".join(next(iter(shared.values())))
        notes.add(Problem("error", "ids in two splits", f"in {first}"), [*shared])
    # A motion in several splits is checked once, in the last one: held-out motions are no training data.
    return {name: [i for i in ids if places[i][-1] == name] for name, ids in splits.items()}


def _check_surplus(root: Path, splits: Mapping[str, Sequence[str]], notes: _Notebook) -> None:
    listed = {motion_id for ids in splits.values() for motion_id in ids}
    for folder, suffix, kind in ((MOTION_FOLDER, "npy", "surplus motions"), (TEXT_FOLDER, "txt", "surplus captions")):
        surplus = sorted({path.stem for path in (root / folder).glob(f"*.{suffix}")} - listed)
        if surplus:
            notes.add(Problem("note", kind, f"in {folder}/ but in no split list"), surplus)


def _check_split(
    root: Path, ids: Sequence[str], skeleton: Skeleton, metadata: Metadata, notes: _Notebook
) -> tuple[dict[str, float], list[NDArray[np.float32]]]:
    """Counts of a split and its readable motions."""
    motions, counts = [], Counter[str]()
    for motion_id in ids:
        motion, found = _check_pair(root, motion_id, skeleton, metadata)
        captions, problems = _captions(root, motion_id)
        found.extend(problems)
        if motion is not None and (beyond := check_tags(captions, len(motion), metadata.tag_fps)):
            found.append(beyond)
        for problem in found:
            notes.add(problem, [motion_id])
        unusable = {"error"} & {problem.severity for problem in found}
        skipped = {"too short", "too long"} & {problem.kind for problem in found}
        counts["captions"] += len(captions)
        if motion is not None:
            motions.append(motion)
            counts["frames"] += len(motion)
            counts["usable"] += not unusable and not skipped
    minutes = counts["frames"] / metadata.fps / 60
    return {"usable": counts["usable"], "captions": counts["captions"], "minutes": round(minutes, 2)}, motions


def _check_pair(
    root: Path, motion_id: str, skeleton: Skeleton, metadata: Metadata
) -> tuple[NDArray[np.float32] | None, list[Problem]]:
    path = root / MOTION_FOLDER / f"{motion_id}.npy"
    if not path.exists():
        return None, [Problem("error", "missing motions", f"no {path}")]
    motion, problem = check_file(path, skeleton)
    found = [] if problem is None else [problem]
    if motion is None:
        return None, found
    if length := check_length(len(motion), metadata.min_length, metadata.max_length):
        found.append(length)
    return motion, [*found, *check_motion(motion, skeleton, metadata.fps)]


def _captions(root: Path, motion_id: str) -> tuple[list[Caption], list[Problem]]:
    path = root / TEXT_FOLDER / f"{motion_id}.txt"
    if not path.exists():
        return [], [Problem("error", "missing captions", f"no {path}")]
    return check_captions(path)


def _check_packed(root: Path, splits: Mapping[str, Sequence[str]], skeleton: Skeleton, notes: _Notebook) -> None:
    for name in splits:
        if has_packed(root, name):
            try:
                verify_packed(root, name, skeleton.num_features)
            except DataError as error:
                notes.add(Problem("error", f"packed {name}", str(error)))


def _note_source(metadata: Metadata, notes: _Notebook) -> None:
    for name in ("licence", "source"):
        value = metadata.extra.get(name) or metadata.extra.get({"licence": "license"}.get(name, name))
        notes.add(Problem("note", name, str(value) if value else f"metadata.json names no {name}"))
