"""What the user got wrong, said in one line: shared by both command lines, and importing nothing heavy."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from lightning_realign.errors import RealignError

# Lines of a parser's message that describe the parser rather than the mistake.
_NOISE = ("Does not validate", "Subtypes:", "Errors:", "Expected a <class 'NoneType'>", "Given value")
_PLAIN_VALUE = re.compile(r"Given value type: <class '(?:str|int|float|bool)'>\n\s*Given value: (.+)")
_WORDING = (
    (r'Parser key "([^"]*)":', r"\1:"),
    (r"Problem with given class_path '([^']*)':", r"\1:"),
    (r"Expected a (?:<class '([^']*)'>|typing\.(\S+\[[^]]*\]))", r"expected \1\2"),
    (r"\. Got value: (.*)", r", not \1"),
)

_explain: ContextVar[Callable[[], str]] = ContextVar("explain", default=str)


def one_line(message: str) -> str:
    r"""A parser's message as one line: where, which class, what is wrong, and the value; nothing about the parser.

    >>> one_line("Parser key 'model':\n  Errors:\n  - Expected a <class 'int'>\n  - Expected a <class 'NoneType'>")
    "Parser key 'model': expected int"
    """
    text = ""
    for line in (line.strip() for line in message.splitlines()):
        alternative = line.startswith("- ")
        if line and not line.removeprefix("- ").startswith(_NOISE):
            text += (" or " if alternative and not text.endswith(":") else " ") + line.removeprefix("- ")
    value = _PLAIN_VALUE.search(message)
    text = text.strip() + (f" (given: {value[1]})" if value else "")
    for pattern, wording in _WORDING:
        text = re.sub(pattern, wording, text)
    return text


def fail(message: str) -> NoReturn:
    """Print one line on standard error and exit with code 2."""
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    sys.exit(2)


def program() -> str:
    """How this process was started, for messages: `realign`, `train.py` or `python -m lightning_realign`."""
    name = Path(sys.argv[0]).name.removesuffix(".exe")
    return name if name in ("realign", "train.py") else "python -m lightning_realign"


def user_error(error: BaseException) -> RealignError | None:
    """The message for the user that lies behind a parser's error; None where there is none."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, RealignError):
        cause = cause.__cause__ or cause.__context__
    return cause


@contextmanager
def explained_by(explain: Callable[[], str]) -> Iterator[None]:
    """While parsing, ask `explain` for a better line about what a parser refuses; an empty one keeps the parser's."""
    token = _explain.set(explain)
    try:
        yield
    finally:
        _explain.reset(token)


class OneLineErrors(ArgumentParser):
    """A parser that reports a wrong argument in one line, with the command that lists the right ones."""

    def parse_args(self, args: Sequence[str] | None = None, *rest: Any, **more: Any) -> Any:  # type: ignore[override]
        """As jsonargparse parses, which hands a null of nested settings to its inner parsers as the text `None`."""
        words = args if args is None else [f"{word[:-4]}null" if word.endswith("=None") else word for word in args]
        return super().parse_args(words, *rest, **more)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with code 2, without the usage; a parser inside another one raises instead, for the outer to report."""
        if not self.exit_on_error:
            super().error(message, ex)
        if explanation := _explain.get()():
            fail(explanation)
        cause = user_error(ex) if ex is not None else None
        if cause is not None:
            fail(str(cause))
        fail(f"{one_line(message)} (all options: {self.prog.replace(' [options]', '')} --help)")
