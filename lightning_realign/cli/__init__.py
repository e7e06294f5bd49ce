"""The command line: the trainer's part, the tools, and what they say of mistakes."""
