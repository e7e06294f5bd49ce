"""`python -m lightning_realign TOOL`: everything that is not training, testing or predicting."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any, get_args, get_origin, get_type_hints

from lightning_realign.cli import data_tools, tools
from lightning_realign.cli.messages import OneLineErrors, fail
from lightning_realign.errors import RealignError

Tool = Callable[..., Any]


def _tool_parser(tool: Tool, positional: str | None) -> OneLineErrors:
    """The parser of one tool: its keyword arguments, and `positional` as one value or a list of values before them.

    Arguments that are off by default become flags.
    """
    summary = (tool.__doc__ or "").strip().splitlines()[0]
    parser = OneLineErrors(description=summary, allow_abbrev=False)
    kinds = get_type_hints(tool)
    flags = [name for name, parameter in signature(tool).parameters.items() if parameter.default is False]
    if positional and get_origin(kinds[positional]) is list:
        (kind,) = get_args(kinds[positional])
        parser.add_argument(positional, nargs="+", type=kind, help=f"one or more values of {positional}")
    elif positional:
        parser.add_argument(positional, type=kinds[positional], help=_help(tool, positional))
    for name in flags:
        parser.add_argument(f"--{name}", action="store_true", help=_help(tool, name))
    parser.add_function_arguments(tool, skip={*flags, *filter(None, [positional])}, as_positional=False)
    return parser


def _help(tool: Tool, name: str) -> str:
    """What the tool's docstring says of an argument."""
    found = re.search(rf"^ +{name}: (.*)$", tool.__doc__ or "", re.MULTILINE)
    return found[1] if found else ""


def build_parser() -> OneLineErrors:
    """The whole command line; `data` holds tools of its own."""
    parser = OneLineErrors(
        prog="python -m lightning_realign", allow_abbrev=False, description="Tools of lightning_realign."
    )
    commands = parser.add_subcommands(dest="tool")
    for name, (tool, positional) in tools.TOOLS.items():
        commands.add_subcommand(name, _tool_parser(tool, positional), help=(tool.__doc__ or "").splitlines()[0])
    data = OneLineErrors(allow_abbrev=False, description="Make and inspect data sets.")
    commands.add_subcommand("data", data, help="Make and inspect data sets.")
    data_commands = data.add_subcommands(dest="action")
    for name, (tool, positional) in data_tools.TOOLS.items():
        data_commands.add_subcommand(name, _tool_parser(tool, positional), help=(tool.__doc__ or "").splitlines()[0])
    return parser


def main(args: Sequence[str] | None = None) -> None:
    """Run one tool.

    Raises:
        SystemExit: code 2 with one line on standard error, where the user's input is wrong.
    """
    parser = build_parser()
    config = parser.parse_args(None if args is None else list(args))
    name, settings = config.tool, config[config.tool]
    tool, _ = data_tools.TOOLS[settings.action] if name == "data" else tools.TOOLS[name]
    arguments = settings[settings.action] if name == "data" else settings
    try:
        tool(**arguments.as_dict())
    except RealignError as error:
        fail(str(error))


if __name__ == "__main__":
    main()
