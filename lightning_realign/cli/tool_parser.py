"""The parser of one tool, made from its signature and its docstring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from inspect import Parameter, signature
from typing import Any, get_args, get_origin, get_type_hints

from docstring_parser import parse as parse_docstring

from lightning_realign.cli.messages import OneLineErrors

Tool = Callable[..., Any]
# Short spellings of options that are given often, by tool; those of a setting that a tool does not take don't count.
ALIASES: Mapping[str, Mapping[str, str]] = {
    "generate": {
        "mu": "guidance.mu",
        "eta": "guidance.eta",
        "preset": "guidance.preset",
        "model": "generator.path",
        "reward": "reward.path",
    },
}


def tool_parser(name: str, tool: Tool, positional: str | None) -> OneLineErrors:
    """The parser of one tool: its keyword arguments, and `positional` as one value or a list of values before them.

    Arguments that are off by default become flags. Those whose type is a dataclass become one option a field, such as
    `--guidance.mu`, with the help of the dataclass's docstring.
    """
    short = [f"--{alias} is --{target}" for alias, target in _aliases(name, tool).items()]
    parser = OneLineErrors(
        description=summary(tool), allow_abbrev=False, epilog=f"Short: {', '.join(short)}." if short else None
    )
    kinds, texts = get_type_hints(tool), _help_texts(tool)
    flags = [argument for argument, parameter in signature(tool).parameters.items() if parameter.default is False]
    if positional and get_origin(kinds[positional]) is list:
        (kind,) = get_args(kinds[positional])
        parser.add_argument(positional, nargs="+", type=kind, help=texts.get(positional))
    elif positional:
        default = signature(tool).parameters[positional].default
        optional = {} if default is Parameter.empty else {"nargs": "?", "default": default}
        parser.add_argument(positional, type=kinds[positional], help=texts.get(positional), **optional)
    for flag in flags:
        parser.add_argument(f"--{flag}", action="store_true", help=texts.get(flag))
    parser.add_function_arguments(tool, skip={*flags, *filter(None, [positional])}, as_positional=False)
    return parser


def expand_aliases(name: str, tool: Tool, words: Sequence[str]) -> list[str]:
    """The arguments of a tool with its short spellings written out: `--mu=3` becomes `--guidance.mu=3`."""
    aliases = _aliases(name, tool)
    expanded = []
    for word in words:
        option, equals, value = word.partition("=")
        target = aliases.get(option.removeprefix("--")) if option.startswith("--") else None
        expanded.append(f"--{target}{equals}{value}" if target else word)
    return expanded


def summary(tool: Tool) -> str:
    """The first line of a tool's docstring."""
    return (tool.__doc__ or "").strip().partition("\n")[0]


def _aliases(name: str, tool: Tool) -> dict[str, str]:
    grouped = {argument for argument, kind in get_type_hints(tool).items() if is_dataclass(kind)}
    return {alias: target for alias, target in ALIASES.get(name, {}).items() if target.partition(".")[0] in grouped}


def _help_texts(tool: Tool) -> dict[str, str]:
    """What a tool's docstring says of its arguments."""
    return {
        entry.arg_name: " ".join((entry.description or "").split())
        for entry in parse_docstring(tool.__doc__ or "").params
    }
