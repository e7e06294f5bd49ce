"""Lines of caption files with tokens: given tokens stay as they are, and a tagger makes those of bare captions."""

from __future__ import annotations

from pathlib import Path

from lightning_realign.data.formats import parse_caption_line
from lightning_realign.files.reading import read_text
from lightning_realign.data.tagging.tagger import Tagger, load_tagger
from lightning_realign.errors import DataError

GIVEN = "given"


class CaptionLines:
    """Completes captions, and remembers where their tokens come from.

    origins: `given` if some captions had tokens, and the names of the taggers that made others.

    Args:
        tagger: what makes the tokens of bare captions. By default spaCy if it is installed, else the built-in tagger; it
            is loaded on first use.
    """

    def __init__(self, tagger: Tagger | None = None) -> None:
        self._tagger = tagger
        self.origins: set[str] = set()

    @property
    def pos_tagger(self) -> str:
        """Where the tokens so far come from: `given`, or the tagger's name, or both."""
        made = " and ".join(sorted(self.origins - {GIVEN}))
        return f"{GIVEN}, else {made}" if made and GIVEN in self.origins else made or GIVEN

    def complete(self, line: str, path: Path, number: int) -> str:
        """A caption as a line of a caption file.

        Args:
            line: the caption: bare, `caption#tokens`, or `caption#tokens#start#end`.
            path: its file, for error messages.
            number: its line number, from 1.

        Raises:
            DataError: it is malformed, or has no word.
        """
        line = " ".join(line.split())
        if "#" in line:
            self.origins.add(GIVEN)
        else:
            self._tagger = self._tagger or load_tagger()
            self.origins.add(self._tagger.name)
            line = f"{line}#{' '.join(self._tagger(line))}"
        if line.count("#") == 1:
            line += "#0.0#0.0"
        parse_caption_line(line, path, number)
        return line

    def read(self, path: Path) -> bytes:
        """A caption file: unchanged if every line has tokens, else with tokens for its bare captions.

        Raises:
            DataError: it is missing, malformed or holds no caption.
        """
        lines = [(number, line) for number, line in enumerate(read_text(path, "caption file").split("\n"), 1)]
        lines = [(number, line) for number, line in lines if line.strip()]
        if not lines:
            raise DataError(f"{path}: no caption; write at least one line")
        completed = []
        for number, line in lines:
            if "#" in line:
                parse_caption_line(line, path, number)
            completed.append(self.complete(line, path, number))
        if all("#" in line for _, line in lines):
            return path.read_bytes()
        return "".join(f"{line}\n" for line in completed).encode()
