"""`python -m lightning_realign COMMAND`: the same as the command `realign`."""

from lightning_realign.cli.main import build_parser, main

__all__ = ["build_parser", "main"]

if __name__ == "__main__":
    main()
