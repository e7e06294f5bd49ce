"""Errors a user can cause: each message is one line that names the file, the field, the value and the remedy."""


class RealignError(Exception):
    """Base of all errors that the command line reports in one line, with exit code 2."""


class DataError(RealignError, ValueError):
    """A data set, motion file, caption file or split list that cannot be used."""


class FeatureSpecError(RealignError, ValueError):
    """A checkpoint, data set or tensor of another skeleton or feature size than the one expected."""


class CheckpointError(RealignError, ValueError):
    """A checkpoint that is missing, of the wrong kind, unsafe to read, or whose weights do not fit."""


class ConfigError(RealignError, ValueError):
    """A setting that is out of range or contradicts another one."""
