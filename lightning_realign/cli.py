"""The command line of `train.py`: one LightningCLI in subclass mode over every module and data set of the project."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import lightning as L
from jsonargparse import set_parsing_settings
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger

from lightning_realign.callbacks.run_record import RunRecord, configure_wandb_mode
from lightning_realign.callbacks.sweep_guard import SweepGuard
from lightning_realign.errors import RealignError

# Lines of a parser message that describe the parser rather than the mistake.
_NOISE = ("Does not validate", "Subtypes:", "Errors:", "- Expected a <class 'NoneType'>", "Given value")


def one_line(message: str) -> str:
    """A parser's message without its parts about the parser itself, as a single line."""
    lines = (line.strip() for line in message.splitlines())
    return " ".join(line.removeprefix("- ") for line in lines if line and not line.startswith(_NOISE))


class OneLineParser(LightningArgumentParser):
    """A parser that reports a wrong configuration in one line and exits with code 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what is wrong and where to look; never the whole usage."""
        sys.stderr.write(f"error: {one_line(message)} (all options: python {self.prog.split()[0]} SUBCOMMAND --help)\n")
        sys.exit(2)


class RealignCLI(LightningCLI):
    """LightningCLI whose configuration always wins, that always keeps a CSV log, and that differentiates in `test`."""

    def __init__(self, args: Sequence[str] | None = None) -> None:
        super().__init__(
            L.LightningModule,
            L.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=RunRecord,
            save_config_kwargs={"save_to_log_dir": False},
            # Guidance differentiates during `predict` and `test`, which inference tensors forbid; the data sets shard
            # themselves, so that no sample is repeated.
            trainer_defaults={"inference_mode": False, "use_distributed_sampler": False},
            seed_everything_default=1234,
            parser_class=OneLineParser,
            parser_kwargs={"parser_mode": "omegaconf+"},
            args=None if args is None else list(args),
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def _parse_ckpt_path(self) -> None:
        """Leave the configuration as given.

        Lightning would let the hyper-parameters stored in `--ckpt_path` override the command line, so that a sweep
        over a checkpoint would measure one point again and again (Lightning issue 21455).
        """

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Build the trainer with the guard of sweeps, and a CSV log beside whatever logger is configured."""
        config = self._get(self.config_init, "trainer")
        logger = config["logger"]
        if logger is not False:
            loggers: list[Logger] = [] if logger in (None, True) else [logger] if isinstance(logger, Logger) else logger
            if not any(isinstance(entry, CSVLogger) for entry in loggers):
                loggers = [CSVLogger(config["default_root_dir"] or ".", name="logs"), *loggers]
            kwargs["logger"] = loggers
        return super().instantiate_trainer(**kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Attach the callback that stops a sweep point whose values are not the requested ones."""
        parser.add_lightning_class_args(SweepGuard, "sweep_guard")


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; `args` (default: the process's own) lets tests call it in-process.

    Raises:
        SystemExit: code 2 with one line on standard error, where the user's input is wrong.
    """
    set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
    configure_wandb_mode()
    try:
        RealignCLI(args)
    except RealignError as error:
        sys.stderr.write(f"error: {one_line(str(error))}\n")
        sys.exit(2)
