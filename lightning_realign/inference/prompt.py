"""What a prompt may be: its text, its length, the name of its file, and where to compute."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lightning_realign.errors import ConfigError
from lightning_realign.motion import Skeleton

# The published models were trained on lengths in multiples of 4 below 200 frames.
LENGTH_UNIT = 4
MAX_FRAMES = 196
# More than any text encoder reads; a longer prompt would be cut without a word.
MAX_CHARACTERS = 500


def frames_of(seconds: float, skeleton: Skeleton) -> int:
    """The length in frames of `seconds`: the nearest multiple of 4.

    Raises:
        ConfigError: less than 4 frames, or more than 196.
    """
    frames = round(seconds * skeleton.fps / LENGTH_UNIT) * LENGTH_UNIT if math.isfinite(seconds) else 0
    if not LENGTH_UNIT <= frames <= MAX_FRAMES:
        least, most = LENGTH_UNIT / skeleton.fps, MAX_FRAMES / skeleton.fps
        raise ConfigError(f"seconds is {seconds}; give {least:g} to {most:g} seconds for skeleton {skeleton.name!r}")
    return frames


def check_prompts(prompts: Sequence[str]) -> tuple[str, ...]:
    """The prompts without surrounding space.

    Raises:
        ConfigError: there is none, or one is empty or too long.
    """
    texts = tuple(" ".join(prompt.split()) for prompt in prompts)
    if not texts:
        raise ConfigError("prompt: no text given; give one or more, or a file of them")
    for number, text in enumerate(texts, 1):
        if not text:
            raise ConfigError(f"prompt {number} is empty; write what the motion should do")
        if len(text) > MAX_CHARACTERS:
            raise ConfigError(
                f"prompt {number} has {len(text)} characters ({text[:30]!r}...); write at most {MAX_CHARACTERS}"
            )
    return texts


def texts_of(words: Sequence[str]) -> list[str]:
    """Texts, and those of the files that some of the words name, see `read_prompts`."""
    return [
        text
        for word in words
        for text in (read_prompts(Path(word)) if word.endswith(tuple(_READERS)) and " " not in word else [word])
    ]


def read_prompts(path: Path) -> list[str]:
    """The texts of a file: a `.txt` with one a line, a `.csv` with a column `text`, or a `.jsonl` with a field `text`.

    Empty lines are left out.

    Raises:
        ConfigError: the file cannot be read, is of another kind, or a line has no text.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"prompts {path}: cannot be read ({error!r:.80}); give a text file in UTF-8") from None
    if path.suffix not in _READERS:
        raise ConfigError(f"prompts {path}: ends in {path.suffix!r}; give one of {', '.join(_READERS)}")
    texts = []
    for number, text in _READERS[path.suffix](content):
        if not isinstance(text, str):
            raise ConfigError(f"prompts {path}, line {number}: has no 'text'; write what the motion should do there")
        texts.append(text)
    if not texts:
        raise ConfigError(f"prompts {path}: is empty; write one text a line")
    return texts


def _lines(content: str) -> Iterator[tuple[int, Any]]:
    return ((number, line) for number, line in enumerate(content.splitlines(), 1) if line.strip())


def _table(content: str) -> Iterator[tuple[int, Any]]:
    rows = csv.DictReader(io.StringIO(content))
    return ((rows.line_num, row.get("text")) for row in rows)


def _objects(content: str) -> Iterator[tuple[int, Any]]:
    for number, line in _lines(content):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        yield number, entry.get("text") if isinstance(entry, dict) else None


_READERS: Mapping[str, Callable[[str], Iterator[tuple[int, Any]]]] = {
    ".txt": _lines,
    ".csv": _table,
    ".jsonl": _objects,
}


def chosen_device(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA's where there is one, else the CPU.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device is {name!r}, which torch cannot use here ({reason}); use auto or cpu") from None


def file_names(texts: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    """Names of files without a suffix: up to 40 characters of each text, and the beginning of its id."""
    slugs = (re.sub(r"[^a-z0-9]+", "-", text.lower())[:40].strip("-") or "motion" for text in texts)
    return tuple(f"{slug}-{identity[:8]}" for slug, identity in zip(slugs, ids, strict=True))
