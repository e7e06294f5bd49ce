"""`python -m lightning_realign TOOL`: everything that is not training, testing or predicting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args, get_type_hints

from lightning_realign import tools
from lightning_realign.errors import RealignError
from lightning_realign.messages import OneLineErrors, fail

Tool = Callable[..., Any]


def _tool_parser(tool: Tool, positional: str | None) -> OneLineErrors:
    """The parser of one tool: its keyword arguments, and `positional` as a list of values before them."""
    summary = (tool.__doc__ or "").strip().splitlines()[0]
    parser = OneLineErrors(description=summary, allow_abbrev=False)
    if positional:
        (kind,) = get_args(get_type_hints(tool)[positional])
        parser.add_argument(positional, nargs="+", type=kind, help=f"one or more values of {positional}")
    parser.add_function_arguments(tool, skip={positional} if positional else set(), as_positional=False)
    return parser


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
    for name, tool in tools.DATA_TOOLS.items():
        data_commands.add_subcommand(name, _tool_parser(tool, None), help=(tool.__doc__ or "").splitlines()[0])
    return parser


def main(args: Sequence[str] | None = None) -> None:
    """Run one tool.

    Raises:
        SystemExit: code 2 with one line on standard error, where the user's input is wrong.
    """
    parser = build_parser()
    config = parser.parse_args(None if args is None else list(args))
    name, settings = config.tool, config[config.tool]
    tool = tools.DATA_TOOLS[settings.action] if name == "data" else tools.TOOLS[name][0]
    arguments = settings[settings.action] if name == "data" else settings
    try:
        tool(**arguments.as_dict())
    except RealignError as error:
        fail(str(error))


if __name__ == "__main__":
    main()
