"""The command line of `train.py`: one LightningCLI in subclass mode over every module and data set of the project."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from jsonargparse import set_parsing_settings
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import MPSAccelerator
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf.errors import OmegaConfBaseException

from lightning_realign.checkpoints.entry import read_resumable
from lightning_realign.checkpoints.folder import is_address
from lightning_realign.cli.config_files import check_config_files, with_shipped_configs
from lightning_realign.cli.messages import OneLineErrors, explained_by, fail, program, user_error
from lightning_realign.cli.notes import show_notes
from lightning_realign.cli.progress import progress_bar
from lightning_realign.cli.quiet import quieten
from lightning_realign.cli.renamed import explain_run
from lightning_realign.cli.run_record import RunRecord
from lightning_realign.cli.sweep_guard import SweepGuard
from lightning_realign.cli.wandb_mode import configure_wandb_mode
from lightning_realign.errors import ConfigError, RealignError
from lightning_realign.evaluation.measuring import MeasuringModule
from lightning_realign.inference.module import GuidedGeneration
from lightning_realign.inference.writer import PredictionWriter

# Not files: what Lightning itself finds, or fetches.
_FOUND_BY_LIGHTNING = ("best", "last", "hpc", "registry")
# Relative to a section, because a configuration is a part of its subcommand.
_RUN_FOLDER = "${..trainer.default_root_dir}"
# Callbacks of every run, by the section that sets them, and what they are set to by default.
CALLBACKS: Mapping[str, tuple[type[Callback], Mapping[str, Any]]] = {
    "sweep_guard": (SweepGuard, {}),
    "best_checkpoint": (
        ModelCheckpoint,
        {
            "dirpath": _RUN_FOLDER,
            "filename": "best",
            "monitor": "val/loss",
            "mode": "min",
            "enable_version_counter": False,
        },
    ),
    "last_checkpoint": (
        ModelCheckpoint,
        {
            "dirpath": _RUN_FOLDER,
            "filename": "last",
            "save_on_train_epoch_end": True,
            "enable_version_counter": False,
        },
    ),
    "writer": (PredictionWriter, {"folder": f"{_RUN_FOLDER}/motions"}),
}


# The parser finds a class by its bare name once its module is imported.
FOUND_BY_NAME = (GuidedGeneration,)


class SafeCheckpointIO(TorchCheckpointIO):
    """Reads whatever checkpoint Lightning is given, or finds by itself, without running anything in it."""

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The content of a file, on the CPU; the arguments are Lightning's and change nothing.

        Raises:
            CheckpointError: it is missing, damaged, unsafe, or no checkpoint of a training.
        """
        return read_resumable(path)


class OneLineParser(OneLineErrors, LightningArgumentParser):
    """Lightning's parser, reporting a wrong configuration in one line."""


class RealignCLI(LightningCLI):
    """LightningCLI whose configuration always wins, and that differentiates in `test`.

    Every run keeps a CSV log, its best and its last checkpoint, and its predictions in the run's folder,
    `trainer.default_root_dir`. The sections `best_checkpoint`, `last_checkpoint` and `writer` change how.
    """

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
            trainer_defaults={"inference_mode": False, "use_distributed_sampler": False, "default_root_dir": "."},
            seed_everything_default=1234,
            parser_class=OneLineParser,
            # An abbreviated option would be taken for the one it begins, whatever was meant.
            parser_kwargs={
                "prog": program(),
                "parser_mode": "omegaconf+",
                "allow_abbrev": False,
                **{name: {"allow_abbrev": False} for name in self.subcommands()},
            },
            args=None if args is None else list(args),
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the words, in which the package's own configurations may be named."""
        words = with_shipped_configs(sys.argv[1:] if args is None else args)
        check_config_files(words)
        with explained_by(lambda: explain_run(words)):
            self.config = parser.parse_args(words)

    def _parse_ckpt_path(self) -> None:
        """Make sure that `--ckpt_path` can be read, and leave the configuration as given.

        Lightning would let the hyper-parameters stored in it override the command line, so that a sweep over a
        checkpoint would measure one point again and again (Lightning issue 21455).
        """
        path = self.config[self.config.subcommand].get("ckpt_path")
        if path and "://" in str(path) and not is_address(path):
            # Lightning unpickles what it downloads.
            raise ConfigError(f"ckpt_path is {path}, which would be read unsafely; download it and give the file")
        if path and str(path).partition(":")[0] not in _FOUND_BY_LIGHTNING:
            read_resumable(path)

    def instantiate_classes(self) -> None:
        """Build model, data and trainer; what they say of a wrong setting is not hidden in the parser's own error."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            cause = user_error(error)
            if cause is None:
                raise
            raise cause from None

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Build the trainer with a safe reader of checkpoints, and a CSV log beside whatever logger is configured."""
        config = self._get(self.config_init, "trainer")
        logger = config["logger"]
        if logger is not False:
            loggers: list[Logger] = [] if logger is True else _as_list(logger)
            if not any(isinstance(entry, CSVLogger) for entry in loggers):
                loggers = [CSVLogger(config["default_root_dir"] or ".", name="logs"), *loggers]
            kwargs["logger"] = loggers
        kwargs["plugins"] = [*_as_list(config["plugins"]), SafeCheckpointIO()]
        # MPS has no float64, in which noise schedules and metrics are computed.
        if config["accelerator"] == "auto" and MPSAccelerator.is_available():
            kwargs["accelerator"] = "cpu"
        configured = _as_list(config["callbacks"])
        defaults = [self._get(self.config_init, name) for name in CALLBACKS]
        wanted = _without_replaced(defaults, configured, config["enable_checkpointing"] is not False)
        if config["enable_progress_bar"] is not False and not any(isinstance(one, ProgressBar) for one in configured):
            wanted.append(progress_bar())
        return self._instantiate_trainer({**config, **kwargs, "callbacks": configured}, wanted)

    def before_test(self) -> None:
        """Leave out Lightning's table of every figure where the module prints one of its own."""
        self.config_init["test"]["verbose"] = not isinstance(self.model, MeasuringModule)

    def before_validate(self) -> None:
        """As `before_test`."""
        self.config_init["validate"]["verbose"] = not isinstance(self.model, MeasuringModule)

    def before_predict(self) -> None:
        """Keep no motion in memory unless asked to: they are written as they come."""
        settings = self.config_init["predict"]
        if settings["return_predictions"] is None:
            settings["return_predictions"] = False

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Attach the callbacks of every run, each with a section of its own."""
        for section, (callback, defaults) in CALLBACKS.items():
            parser.add_lightning_class_args(callback, section)
            parser.set_defaults({f"{section}.{name}": value for name, value in defaults.items()})


def _as_list(value: Any) -> list[Any]:
    """A setting that may be one object, a list of them, or nothing."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _without_replaced(
    defaults: Iterable[Callback], configured: Sequence[Callback], checkpointing: bool
) -> list[Callback]:
    """The default callbacks, without those that a configured one of `trainer.callbacks` stands in for.

    A checkpoint is replaced by one of the same file name, the writer by any other writer. Without checkpointing there
    are no checkpoints.
    """
    files = {callback.filename for callback in configured if isinstance(callback, ModelCheckpoint)}
    writes = any(isinstance(callback, PredictionWriter) for callback in configured)
    kept = []
    for callback in defaults:
        if isinstance(callback, ModelCheckpoint) and (not checkpointing or callback.filename in files):
            continue
        if isinstance(callback, PredictionWriter) and writes:
            continue
        kept.append(callback)
    return kept


def main(args: Sequence[str] | None = None) -> RealignCLI:
    """Run the command line; `args` (default: the process's own) lets tests call it in-process.

    Returns:
        The finished run, with its model, data module and trainer.

    Raises:
        SystemExit: code 2 with one line on standard error, where the user's input is wrong.
    """
    set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
    quieten()
    show_notes()
    configure_wandb_mode()
    try:
        return RealignCLI(args)
    except (RealignError, MisconfigurationException, OmegaConfBaseException) as error:
        fail(str(error))
