"""The command `realign`: training, testing and predicting, and all tools. Nothing heavy is imported before it runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_realign import __version__
from lightning_realign.cli.messages import OneLineErrors, explained_by, fail, program, user_error
from lightning_realign.cli.notes import show_notes
from lightning_realign.cli.renamed import explain_tool
from lightning_realign.cli.tool_parser import Tool, expand_aliases, summary, tool_parser
from lightning_realign.cli.tools import DATA_TOOLS, TOOLS, toy
from lightning_realign.errors import RealignError

# What LightningCLI does (`cli.train`), with what help says of it.
TRAINER_COMMANDS: Mapping[str, str] = {
    "fit": "Train a model: reward, VAE, diffusion model or evaluator.",
    "validate": "Measure on the validation split.",
    "test": "Measure on the test split.",
    "predict": "Generate motions for the texts of a data set.",
}


def build_parser() -> OneLineErrors:
    """The whole command line; `data` holds tools of its own.

    The trainer's commands and the toy are listed for the help alone: `main` hands their words on.
    """
    parser = OneLineErrors(
        prog=program(),
        version=__version__,
        allow_abbrev=False,
        description="Step-aware reward-guided text-to-motion generation. COMMAND --help lists a command's options.",
    )
    commands = parser.add_subcommands(dest="tool", metavar="COMMAND")
    for name, text in {**TRAINER_COMMANDS, "toy": toy.SUMMARY}.items():
        commands.add_subcommand(name, OneLineErrors(description=text), help=text)
    for name, (tool, positional) in TOOLS.items():
        commands.add_subcommand(name, tool_parser(name, tool, positional), help=summary(tool))
    data = OneLineErrors(allow_abbrev=False, description="Make and inspect data sets.")
    commands.add_subcommand("data", data, help="Make and inspect data sets.")
    data_commands = data.add_subcommands(dest="action")
    for name, (tool, positional) in DATA_TOOLS.items():
        data_commands.add_subcommand(name, tool_parser(name, tool, positional), help=summary(tool))
    return parser


def main(args: Sequence[str] | None = None) -> None:
    """Run one command; `args` (default: the process's own) lets tests call it in-process.

    Raises:
        SystemExit: code 2 with one line on standard error, where the user's input is wrong.
    """
    words = list(sys.argv[1:] if args is None else args)
    show_notes()
    if words and words[0] in TRAINER_COMMANDS:
        from lightning_realign.cli.train import main as train

        train(args)
    elif words and words[0] == "toy":
        _run_toy(words[1:])
    else:
        _run_tool(words)


def console() -> None:
    """The console script: modules of your own are found in the folder that it is started from, as by `python -m`."""
    sys.path.insert(0, str(Path.cwd()))
    main()


def _run_toy(words: list[str]) -> None:
    try:
        code = toy.run_toy(words)
    except RealignError as error:
        fail(str(error))
    if code:
        raise SystemExit(code)


def _run_tool(words: list[str]) -> None:
    parser = build_parser()
    with explained_by(lambda: explain_tool(words)):
        config = parser.parse_args(_with_aliases(words))
    try:
        chosen = parser.instantiate_classes(config)
        name, settings = chosen.tool, chosen[chosen.tool]
        tool: Tool = (DATA_TOOLS[settings.action] if name == "data" else TOOLS[name])[0]
        arguments = settings[settings.action] if name == "data" else settings
        tool(**vars(arguments))
    except RealignError as error:
        fail(str(error))
    except ValueError as error:
        cause = user_error(error)
        if cause is None:
            raise
        fail(str(cause))


def _with_aliases(words: list[str]) -> list[str]:
    """The words with a tool's short spellings written out."""
    if not words or words[0] not in TOOLS:
        return words
    return [words[0], *expand_aliases(words[0], TOOLS[words[0]][0], words[1:])]
