"""The files of a HumanML3D-style data set: captions, split lists, motions, metadata.

The layout is the published one (Guo et al., CVPR 2022, github.com/EricGuo5513/HumanML3D): `new_joint_vecs/ID.npy`,
`texts/ID.txt`, `Mean.npy`, `Std.npy`, `train.txt`, `val.txt`, `test.txt`. An optional `metadata.json` gives the frame
rate and the length limits of a data set that is not one of the published two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_realign.errors import DataError
from lightning_realign.files.reading import load_array, read_json, read_text

MOTION_FOLDER = "new_joint_vecs"
TEXT_FOLDER = "texts"
SPLITS = ("train", "val", "test")
QUARANTINE_FILE = "quarantine.txt"
# Start and end tags are seconds; the published loaders take 20 fps for them, whatever the data set.
PUBLISHED_TAG_FPS = 20.0


@dataclass(frozen=True)
class Caption:
    """One line of a caption file.

    text: the caption. tokens: its `word/POS` tokens. start, end: the part of the motion it describes, in seconds;
    0 and 0 mean the whole motion.
    """

    text: str
    tokens: tuple[str, ...]
    start: float = 0.0
    end: float = 0.0

    @property
    def is_whole(self) -> bool:
        """Whether the caption describes the whole motion."""
        return self.start == 0.0 and self.end == 0.0

    def line(self) -> str:
        """The caption as a line of a caption file, without a newline."""
        return f"{self.text}#{' '.join(self.tokens)}#{self.start}#{self.end}"


@dataclass(frozen=True)
class Metadata:
    """What a data set says of itself.

    fps: frames per second. A motion of L frames is used if min_length <= L < max_length. tag_fps: the rate at which
    start and end tags (seconds) become frames. extra: the other entries of metadata.json.
    """

    name: str
    fps: float
    skeleton: str
    min_length: int
    max_length: int = 200
    tag_fps: float = PUBLISHED_TAG_FPS
    extra: Mapping[str, Any] = field(default_factory=dict)


def parse_caption_line(line: str, path: Path, number: int) -> Caption:
    """Read `caption#word/POS word/POS ...#start#end`. NaN tags count as 0.

    Args:
        line: the line, with or without its newline.
        path: the file it comes from, for error messages.
        number: its line number, from 1.

    Raises:
        DataError: the line lacks a field, has no tokens, or its tags are not finite numbers.
    """
    where = f"{path}, line {number}"
    fields = line.strip().rsplit("#", 3)
    if len(fields) != 4:
        raise DataError(
            f"{where}: {len(fields)} of 4 fields in {line.strip()[:60]!r}; write caption#word/POS word/POS#start#end"
        )
    text, tokens = fields[0].strip(), tuple(fields[1].split())
    if not text:
        raise DataError(f"{where}: the caption is empty; write a text before the first '#', or delete the line")
    if not tokens:
        raise DataError(f"{where}: caption {text[:60]!r} has no tokens; add word/POS tokens between the first two '#'")
    for token in tokens:
        if "/" not in token:
            raise DataError(f"{where}: token {token[:40]!r} has no part of speech; write it as word/POS")
    return Caption(text, tokens, _tag(fields[2], "start", where), _tag(fields[3], "end", where))


def _tag(value: str, name: str, where: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.inf
    if math.isnan(seconds):
        return 0.0
    if math.isinf(seconds) or seconds < 0:
        raise DataError(f"{where}: {name} tag is {value[:40]!r}; write a number of seconds, 0.0 for the whole motion")
    return seconds


def read_captions(path: Path) -> list[Caption]:
    """All captions of a file, in order; blank lines are skipped.

    Raises:
        DataError: the file is missing or not text, or a line is malformed; the message has its number.
    """
    lines = read_text(path, "caption file").split("\n")
    return [parse_caption_line(line, path, number) for number, line in enumerate(lines, 1) if line.strip()]


def read_split(path: Path) -> list[str]:
    """The ids of a split list, one a line, in order.

    Raises:
        DataError: the file is missing, empty, or lists an id twice.
    """
    names = [line.strip() for line in read_text(path, "split list").splitlines() if line.strip()]
    if not names:
        raise DataError(f"{path}: the split list is empty; write one motion id per line")
    if len(set(names)) != len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DataError(f"{path}: id {twice!r} is listed twice; list every motion once")
    return names


def read_quarantine(root: Path) -> dict[str, str]:
    """The motions that `quarantine.txt` excludes (one `ID<tab>reason` a line), with the reasons; empty without a file.

    Raises:
        DataError: the file is not text.
    """
    path = root / QUARANTINE_FILE
    if not path.is_file():
        return {}
    lines = (line.strip().partition("\t") for line in read_text(path, "quarantine list").splitlines())
    return {name: reason or f"listed in {path}" for name, _, reason in lines if name}


def load_motion(path: Path, num_features: int) -> NDArray[np.float32]:
    """A motion's features [T, num_features] as float32. Files in float64 are accepted.

    Raises:
        DataError: the file is missing or unreadable, has another shape, or has non-finite entries.
    """
    array = load_array(path, "motion")
    if array.ndim != 2 or array.shape[1] != num_features or len(array) == 0:
        raise DataError(
            f"{path}: motion has shape {array.shape}, not (frames, {num_features}); extract its features again, or "
            "use the data module of its skeleton"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        motion = array.astype(np.float32, copy=False)
    if not np.isfinite(motion).all():
        frame = int(np.flatnonzero(~np.isfinite(motion).all(axis=1))[0])
        raise DataError(f"{path}: motion has NaN or infinite features (first in frame {frame}); extract them again")
    return motion


def load_statistics(path: Path, num_features: int) -> NDArray[np.float64]:
    """`Mean.npy` or `Std.npy`: a vector [num_features].

    Raises:
        DataError: it is missing or unreadable, or has another size.
    """
    array = load_array(path, "statistics file")
    if array.shape != (num_features,):
        raise DataError(
            f"{path}: statistics have shape {array.shape}, the skeleton needs ({num_features},); "
            "use the data module of the data set's skeleton"
        )
    return array.astype(np.float64)


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "name": lambda value: isinstance(value, str),
    "skeleton": lambda value: isinstance(value, str),
    "fps": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e4,
    "min_length": lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 1,
    "max_length": lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 2,
}


def read_metadata(root: Path, default: Metadata) -> Metadata:
    """The entries of a data set's metadata.json, completed by `default`; `default` itself if there is no such file.

    Raises:
        DataError: the file is not JSON, or a field has an impossible value.
    """
    path = root / "metadata.json"
    if not path.exists():
        return default
    content = read_json(path, "metadata")
    for name, is_valid in _FIELDS.items():
        if name in content and not is_valid(content[name]):
            raise DataError(f"{path}: {name} is {content[name]!r}; correct it or remove the entry")
    known = {name: content.pop(name) for name in _FIELDS if name in content}
    metadata = replace(default, **known, extra=content)
    # A data set that states its rate has tags in real seconds. Only the published folders have tags for 20 fps.
    return replace(metadata, tag_fps=float(known["fps"])) if "fps" in known else metadata
