"""Lines of caption files, complete with tokens: given ones as they are, plain captions with a tagger's."""

from __future__ import annotations

from pathlib import Path

from lightning_realign.data.formats import parse_caption_line
from lightning_realign.files.reading import read_text
from lightning_realign.data.tagging.tagger import Tagger, load_tagger
from lightning_realign.errors import DataError

GIVEN = "given"


class CaptionLines:
    """Completes captions, and remembers where their tokens are from.

    origins: `given` where captions had tokens, and the names of the taggers that made others.

    Args:
        tagger: of plain captions; by default spaCy where it is installed, else the built-in one, loaded on first use.
    """

    def __init__(self, tagger: Tagger | None = None) -> None:
        self._tagger = tagger
        self.origins: set[str] = set()

    @property
    def pos_tagger(self) -> str:
        """Where the tokens so far are from: `given`, or the tagger's name, or both."""
        made = " and ".join(sorted(self.origins - {GIVEN}))
        return f"{GIVEN}, else {made}" if made and GIVEN in self.origins else made or GIVEN

    def complete(self, line: str, path: Path, number: int) -> str:
        """A caption, plain or `caption#tokens` or `caption#tokens#start#end`, as a line of a caption file.

        Args:
            line: the caption.
            path: the file it is from, for error messages.
            number: its line number, from 1.

        Raises:
            DataError: if it is malformed, or has no word.
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
        """A caption file; as it is where every line has tokens, else with those that its plain captions lack.

        Raises:
            DataError: if it is missing, malformed or holds no caption.
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
