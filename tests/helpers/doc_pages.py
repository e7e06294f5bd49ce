"""What the pages of the documentation hold: code blocks, commands, links, numbers."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOT_PAGES = ("README.md", "RESULTS.md", "CONTRIBUTING.md", "CHANGELOG.md", "experiments/README.md")
_FILES = (*(ROOT / name for name in ROOT_PAGES), *sorted((ROOT / "docs").rglob("*.md")))
PAGES = tuple(str(path.relative_to(ROOT)) for path in _FILES)
_FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^(?: {4}.*)?\n)+", re.MULTILINE)
_LINK = re.compile(r"\[((?:[^\]\[]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
# Words whose digits are part of a name.
_NAMES = re.compile(r"R@\d+|HumanML3D|KIT-ML|x_\d|t\d|T5|MP4|H\.264")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file that it is to be saved as (or ""), its text."""

    language: str
    title: str
    text: str


def page_text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    return [Block(*match.groups("")) for match in _FENCE.finditer(page_text(page))]


def commands(text: str) -> list[list[str]]:
    """The words of each line that begins with `realign` or `python train.py`, without their comments."""
    lines = re.sub(r" *\\\n *", " ", text).splitlines()
    starts = ("realign ", "python train.py ", "python -m lightning_realign ")
    return [shlex.split(line.strip(), comments=True) for line in lines if line.strip().startswith(starts)]


def page_commands(page: str) -> list[list[str]]:
    """All commands of a page, in fenced and in indented blocks."""
    return commands(page_text(page))


def links(page: str) -> list[str]:
    """The targets of the links and pictures of a page."""
    text = _FENCE.sub("", page_text(page))
    return [target for _, target in _LINK.findall(text)]


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as the site makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page_text(page)), re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", _LINK.sub(r"\1", heading)).strip().lower() for heading in headings]
    return {re.sub(r"[\s-]+", "-", heading) for heading in plain}


def numbers_in_prose(page: str) -> list[str]:
    """The numbers outside code, links and names."""
    text = _FENCE.sub("\n", page_text(page))
    text = _INDENTED.sub("\n", text)
    text = re.sub(r"`[^`]*`", "", _LINK.sub("", text))
    return re.findall(r"(?<![\w.])[-+]?\d[\d,.]*\d|(?<![\w.])\d", _NAMES.sub("", text))
