"""The fields of a skeleton's spec, read and checked. Every mistake gets one line with file, field, value and remedy."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from lightning_realign.errors import ConfigError
from lightning_realign.motion.skeleton.joint_names import joint_side


@dataclass(frozen=True)
class SpecFields:
    """A spec's fields and joints, and the ways to read a field.

    where: the file, for messages. content: the fields. joints: the names of the joints.
    """

    where: str
    content: Mapping[str, Any]
    joints: tuple[str, ...]

    def fail(self, field: str, value: Any, remedy: str) -> NoReturn:
        """Raise the error that a field has a wrong value."""
        text = repr(value)
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        raise ConfigError(f"{self.where}: {field} is {shown}; {remedy}")

    def joint(self, field: str, value: Any) -> int:
        """A joint's index, from its name or number."""
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(self.joints):
            return value
        if isinstance(value, str) and value in self.joints:
            return self.joints.index(value)
        near = difflib.get_close_matches(str(value), self.joints, n=1)
        hint = f"{near[0]!r} perhaps, or " if near else ""
        self.fail(field, value, f"name one of `joints`: {hint}a number from 0 to {len(self.joints) - 1}")

    def sequence(self, field: str, count: int, of: str) -> list[Any]:
        """A list of a given number of entries."""
        value = self.content[field]
        if not isinstance(value, list):
            self.fail(field, value, f"write a list of {count}, {of}")
        if len(value) != count:
            raise ConfigError(f"{self.where}: {field} has {len(value)} entries; write {count}, {of}")
        return value

    def distinct(self, field: str, roles: Sequence[str]) -> list[int]:
        """Different joints, none of which is the root."""
        value = self.sequence(field, len(roles), ", ".join(roles))
        found = [self.joint(f"{field} ({role})", entry) for role, entry in zip(roles, value, strict=True)]
        if len(set(found)) < len(found) or 0 in found:
            self.fail(field, value, f"name {len(roles)} different joints other than the root: {', '.join(roles)}")
        return found

    def number(self, field: str, value: Any) -> float:
        """A finite number."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.fail(field, value, "write a number")
        return float(value)

    def positive(self, field: str, meaning: str) -> float:
        """A number above 0."""
        value = self.number(field, self.content[field])
        if value <= 0:
            self.fail(field, self.content[field], f"write a number above 0, {meaning}")
        return value

    def frames(self, field: str) -> int:
        """A whole number of frames, at least 2."""
        value = self.content[field]
        if isinstance(value, bool) or not isinstance(value, int) or value < 2:
            self.fail(field, value, "write a whole number of frames from 2 up")
        return value

    def switch(self, field: str) -> bool:
        """True or false; false if the field is left out."""
        value = self.content.get(field, False)
        if not isinstance(value, bool):
            self.fail(field, value, "write true or false")
        return value

    def unit(self) -> Literal["metre", "millimetre"]:
        """The unit's name."""
        value = self.content["unit"]
        if value == "metre":
            return "metre"
        if value == "millimetre":
            return "millimetre"
        self.fail("unit", value, "write metre or millimetre, and convert lengths and motions to it")


def read_tree(spec: SpecFields) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Chains and parents. If the spec gives only one of them, the other follows."""
    if "chains" not in spec.content:
        parents = _parents(spec)
        return _chains_of(parents, spec.joints), parents
    chains = _chains(spec)
    parents = _parents_of(spec, chains)
    if "parents" in spec.content and (given := _parents(spec)) != parents:
        joint = next(index for index, parent in enumerate(parents) if given[index] != parent)
        raise ConfigError(
            f"{spec.where}: parents has {_named(spec, given[joint])} for joint {spec.joints[joint]!r}, chains have "
            f"{_named(spec, parents[joint])}; correct one, or leave chains out"
        )
    return chains, parents


def _named(spec: SpecFields, joint: int) -> str:
    return repr(spec.joints[joint]) if joint >= 0 else "none"


def _parents(spec: SpecFields) -> tuple[int, ...]:
    value = spec.sequence("parents", len(spec.joints), "the parent of each joint, and -1 for the root")
    if value[0] not in (-1, None):
        spec.fail(f"parents, of the root {spec.joints[0]!r},", value[0], "write -1: the first joint is the root")
    parents = [-1]
    for joint, entry in enumerate(value[1:], 1):
        field = f"parents, of joint {spec.joints[joint]!r},"
        parents.append(spec.joint(field, entry))
        if parents[joint] >= joint:
            spec.fail(field, entry, "list every parent before its children in `joints`")
    return tuple(parents)


def _chains_of(parents: Sequence[int], names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Chains from parents. A chain goes on to a joint's only child, or to the first child on the joint's own side.

    All other children begin chains of their own. At the chest, the spine goes on to the head, and both arms begin
    chains, so that they are treated alike. Names say which side a joint is on.
    """
    children: list[list[int]] = [[] for _ in parents]
    for joint, parent in enumerate(parents):
        if parent >= 0:
            children[parent].append(joint)
    sides = [joint_side(name) for name in names]
    onward: dict[int, int] = {}
    for joint, below in enumerate(children[1:], 1):
        alike = below if len(below) == 1 else [child for child in below if sides[child] == sides[joint]]
        if alike:
            onward[joint] = alike[0]
    chains: list[tuple[int, ...]] = []
    for start, below in enumerate(children):
        for first in below:
            if onward.get(start) != first:
                chain = [start, first]
                while chain[-1] in onward:
                    chain.append(onward[chain[-1]])
                chains.append(tuple(chain))
    return tuple(chains)


def _chains(spec: SpecFields) -> tuple[tuple[int, ...], ...]:
    value = spec.content["chains"]
    if not isinstance(value, list) or not all(isinstance(chain, list) and len(chain) > 1 for chain in value):
        spec.fail("chains", value, "write a list of chains, each a list of joints from the root or a branch outwards")
    return tuple(tuple(spec.joint("chains, in an entry,", joint) for joint in chain) for chain in value)


def _parents_of(spec: SpecFields, chains: Sequence[Sequence[int]]) -> tuple[int, ...]:
    parents = [-1] * len(spec.joints)
    placed = {0}
    for number, chain in enumerate(chains, 1):
        field = f"chain {number} of chains"
        names = [spec.joints[joint] for joint in chain]
        if chain[0] not in placed:
            spec.fail(field, names, "begin a chain at the root or at a joint of a chain before it")
        for parent, joint in itertools.pairwise(chain):
            if joint in placed:
                spec.fail(field, names, f"{spec.joints[joint]!r} is in a chain already; keep it in one of them")
            if parent > joint:
                spec.fail(field, names, f"list {spec.joints[parent]!r} before its child in `joints`")
            parents[joint] = parent
            placed.add(joint)
    if lacking := [name for index, name in enumerate(spec.joints) if index not in placed]:
        raise ConfigError(f"{spec.where}: chains lack the joint {lacking[0]!r}; add it to a chain")
    return tuple(parents)
